"""Runs a plan: what the store has is taken, the rest is made, and the run folder is filled."""

import json
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from embedkit.core.errors import EmbedkitError, RecipeError
from embedkit.core.progress import Emit, Progress, ignore, silent
from embedkit.core.stage import Artifact
from embedkit.core.store import Store
from embedkit.making import Making, PartsFailed
from embedkit.outputs import open_run_folder, write_outputs
from embedkit.pins import pin
from embedkit.plan import Step, needed_for, plan
from embedkit.processes import Team, join
from embedkit.recipe import Recipe, load_recipe

__all__ = ["DEFAULT_STORE", "PartsFailed", "Result", "run"]
DEFAULT_STORE = Path(".embedkit")
LOGS = "logs"  # of trackers, in the run folder


@dataclass(frozen=True)
class Result:
    """What a run came to: every step's artifact, which steps were made now, the run folder, wall seconds."""

    steps: Sequence[Step]
    artifacts: Mapping[str, Artifact]  # step name -> artifact
    made: Sequence[str]  # names of the steps that ran now
    out: Path
    seconds: float


def run(
    recipe: Recipe | Path | str,
    *,
    store: Path | str = DEFAULT_STORE,
    out: Path | str | None = None,
    settings: Sequence[str] = (),
    until: str | None = None,
    progress: Progress = silent,
    emit: Emit = ignore,
    team: Team | None = None,
) -> Result:
    """Run a recipe: make what the store lacks, then fill the run folder `out` (default `runs/<recipe name>`).

    `settings` are `stage.field=value` as for `--set`; they need a recipe file, not a `Recipe`. Interrupted at any
    moment, the same call goes on where it stopped. Raises `EmbedkitError` for what the user can mend; where a part of
    a stage fails, like one of many tasks, the other parts are made before that is told.

    Where a launcher has started several processes, each of them calls this and gets the result; the first alone writes
    the run folder, shows progress and emits events. `team` are these processes, entered; by default they are looked for
    in the environment.
    """
    if isinstance(recipe, Recipe) and settings:
        raise RecipeError(
            "settings: change fields of a recipe file; this recipe is already loaded, so change its stages"
        )
    with join() if team is None else nullcontext(team) as team:
        start = time.perf_counter()
        recipe = recipe if isinstance(recipe, Recipe) else load_recipe(Path(recipe), settings)
        folder = Path(out) if out is not None else Path("runs") / recipe.name
        place = Store(Path(store).resolve())
        if not team.is_main:
            making = _follow(recipe, place, folder, until, team)
            return Result(making.steps, making.artifacts, making.made, folder, time.perf_counter() - start)
        pins = pin(recipe.stages, place)
        whole = plan(recipe.stages, pins)
        steps = needed_for(whole, until) if until is not None else whole
        open_run_folder(folder, whole, place)
        about = {"recipe": recipe.name, "stages": len(steps), "store": str(store), "out": str(folder)}
        emit("run_started", about | ({"processes": team.size} if team.several else {}))
        team.tell("plan", json.dumps({step.name: step.key for step in whole}))
        team.check_shared(place.work)
        making = Making(steps, pins, place, team, progress, emit, recipe.name, folder / LOGS)
        making.run()
        artifacts, made = making.artifacts, making.made
        seconds = time.perf_counter() - start
        shown = {step.name: found for step in whole if (found := artifacts.get(step.name) or place.find(step.key))}
        write_outputs(recipe, [s for s in whole if s.name in shown], shown, made, place, folder, seconds=seconds)
        facts = {"made": len(made), "kept": len(steps) - len(made), "seconds": seconds, "out": str(folder)}
        emit("run_finished", facts)
        return Result(steps, artifacts, made, folder, seconds)


def _follow(recipe: Recipe, place: Store, folder: Path, until: str | None, team: Team) -> Making:
    """The run of a process that is not the first: it takes part where it is asked to."""
    _, told = team.hear("plan")  # before the files are hashed, which the first process has then done
    team.check_shared(place.work)
    pins = pin(recipe.stages, place)
    whole = plan(recipe.stages, pins)
    expected = json.loads(told)
    for step in whole:
        if expected.get(step.name) != step.key:
            raise EmbedkitError(
                f"stages.{step.name}: process {team.rank} on {socket.gethostname()} would make something else than "
                "process 0; the recipe, the files it names or installed packages differ between the nodes"
            )
    steps = needed_for(whole, until) if until is not None else whole
    making = Making(steps, pins, place, team, silent, ignore, recipe.name, folder / LOGS)
    making.run()
    return making
