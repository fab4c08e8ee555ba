"""Runs a plan: what the store has is taken, the rest is made, and the run folder is filled."""

import gc
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from embedkit.core.errors import EmbedkitError, RecipeError, StageError
from embedkit.core.progress import Emit, Progress, ignore, silent
from embedkit.core.stage import Artifact, Context
from embedkit.core.stats import read_stats
from embedkit.core.store import Busy, Store
from embedkit.machine import machine, measured, versions
from embedkit.outputs import open_run_folder, write_outputs
from embedkit.pins import check_unchanged, pin
from embedkit.plan import Pins, Step, needed_for, plan
from embedkit.recipe import Recipe, load_recipe

DEFAULT_STORE = Path(".embedkit")


@dataclass(frozen=True)
class Result:
    """What a run came to: every step's artifact, which steps were made now, the run folder, wall seconds."""

    steps: Sequence[Step]
    artifacts: Mapping[str, Artifact]  # step name -> artifact
    made: Sequence[str]  # names of the steps that ran now
    out: Path
    seconds: float


class PartsFailed(StageError):
    """Some parts of a stage failed; the others were made. `artifacts` has what is there, by name of its step."""

    def __init__(
        self, errors: Sequence[EmbedkitError], steps: Sequence[Step], artifacts: Mapping[str, Artifact]
    ) -> None:
        super().__init__(*(problem for error in errors for problem in error.problems))
        self.errors, self.steps, self.artifacts = errors, steps, artifacts


def run(
    recipe: Recipe | Path | str,
    *,
    store: Path | str = DEFAULT_STORE,
    out: Path | str | None = None,
    settings: Sequence[str] = (),
    until: str | None = None,
    progress: Progress = silent,
    emit: Emit = ignore,
) -> Result:
    """Run a recipe: make what the store lacks, then fill the run folder `out` (default `runs/<recipe name>`).

    `settings` are `stage.field=value` as for `--set`; they need a recipe file, not a `Recipe`. Interrupted at any
    moment, the same call goes on where it stopped. Raises `EmbedkitError` for what the user can mend; where a part of
    a stage fails, like one of many tasks, the other parts are made before that is told.
    """
    start = time.perf_counter()
    if isinstance(recipe, Recipe) and settings:
        raise RecipeError(
            "settings: change fields of a recipe file; this recipe is already loaded, so change its stages"
        )
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(Path(recipe), settings)
    place = Store(Path(store).resolve())
    pins = pin(recipe.stages, place)
    whole = plan(recipe.stages, pins)
    steps = needed_for(whole, until) if until is not None else whole
    folder = Path(out) if out is not None else Path("runs") / recipe.name
    open_run_folder(folder, whole, place)
    emit("run_started", {"recipe": recipe.name, "stages": len(steps), "store": str(store), "out": str(folder)})
    artifacts, made = _make_all(steps, pins, place, progress, emit)
    seconds = time.perf_counter() - start
    shown = {step.name: found for step in whole if (found := artifacts.get(step.name) or place.find(step.key))}
    write_outputs(recipe, [s for s in whole if s.name in shown], shown, made, place, folder, seconds=seconds)
    emit("run_finished", {"made": len(made), "kept": len(steps) - len(made), "seconds": seconds, "out": str(folder)})
    return Result(steps, artifacts, made, folder, seconds)


def _make_all(
    steps: Sequence[Step], pins: Pins, place: Store, progress: Progress, emit: Emit
) -> tuple[dict[str, Artifact], list[str]]:
    """Every step's artifact, and the names of those that were made now.

    Of the parts of a stage, those that another process is making are left for last: so processes with one store share
    the parts between them, each on its own device.
    """
    artifacts: dict[str, Artifact] = {}
    made: list[str] = []
    for parent, some in groupby(steps, key=lambda step: step.part_of):
        failed: list[EmbedkitError] = []
        todo, busy = deque(some), 0  # parts in a row that were found busy
        while todo:
            step = todo.popleft()
            found = place.find(step.key)
            try:
                if found is None:
                    found = _make(step, pins, place, progress, emit, wait=parent is None or busy > len(todo))
                    made.append(step.name)
                else:
                    emit("stage_kept", {"stage": step.name, "key": step.key, "part_of": step.part_of})
            except Busy:
                todo.append(step)
                busy += 1
                continue
            except EmbedkitError as error:
                if parent is None:
                    raise
                failed.append(error)
                emit("stage_failed", {"stage": step.name, "key": step.key, "problems": error.problems})
                continue
            artifacts[step.name], busy = found, 0
        if failed:
            raise PartsFailed(failed, steps, artifacts)
    return artifacts, made


def _make(step: Step, pins: Pins, store: Store, progress: Progress, emit: Emit, *, wait: bool) -> Artifact:
    """Run one step and publish its artifact."""

    def emit_for_stage(event: str, facts: Mapping[str, Any]) -> None:
        emit(event, {"stage": step.name, **facts})

    def work(draft: Path, state: Path) -> dict[str, Any]:
        context = Context(state, store.embeddings, progress, emit_for_stage, store.get, step.labels)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        with measured() as meter:
            step.stage.run(_inputs(step, store), draft, context)
            gc.collect()  # models hold themselves in circles; without this each stage's stays until some later one
        check_unchanged(step.stage, pins, store)
        return {
            "started": started,
            "seconds": round(meter.seconds, 3),
            "peak_memory": meter.peak_memory,
            "versions": versions(),
            "machine": machine(),
        }

    emit("stage_started", {"stage": step.name, "key": step.key, "part_of": step.part_of, "kind": step.stage.kind})
    about = {
        "kind": step.stage.kind,
        "type": step.stage.produces,
        "spec": step.identity,
        "inputs": {**step.sources, **{f"parts.{name}": step.inputs[name] for name in step.stage.parts()}},
    }
    try:
        artifact = store.get_or_make(step.key, work, about=about, emit=emit_for_stage, wait=wait)
    except Busy:
        raise
    except EmbedkitError as error:
        raise type(error)(*(f"stages.{step.name}: {problem}" for problem in error.problems)) from error
    taken = store.manifest(step.key).made
    facts = {
        "key": step.key,
        "part_of": step.part_of,
        "seconds": taken.get("seconds"),
        "peak_memory": taken.get("peak_memory"),
    }
    stats = read_stats(artifact.path)
    told = {name: [_named(text, step) for text in stats.get(name, [])] for name in ("summary", "warnings")}
    emit_for_stage("stage_finished", {**facts, **told})
    return artifact


def _named(text: str, step: Step) -> str:
    """A line of an artifact's stats with the names of stages in place of keys, which are all that an artifact knows."""
    for key, name in step.labels.items():
        text = text.replace(key[:8], name)
    return text


def _inputs(step: Step, store: Store) -> dict[str, Artifact]:
    return {name: store.get(key) for name, key in step.inputs.items()}
