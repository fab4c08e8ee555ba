"""Makes the steps of a plan that the store lacks, in one process or in all of a launch."""

import gc
import json
import socket
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from embedkit.core.errors import EmbedkitError, StageError
from embedkit.core.progress import Emit, Progress
from embedkit.core.stage import Artifact, Context, Stage
from embedkit.core.stats import read_stats
from embedkit.core.store import Busy, Store
from embedkit.machine import machine, measured, versions
from embedkit.pins import check_unchanged
from embedkit.plan import Pins, Step
from embedkit.processes import Team, appears


class PartsFailed(StageError):
    """Some parts of a stage failed; the others were made. `artifacts` has what is there, by name of its step."""

    def __init__(
        self, errors: Sequence[EmbedkitError], steps: Sequence[Step], artifacts: Mapping[str, Artifact]
    ) -> None:
        super().__init__(*(problem for error in errors for problem in error.problems))
        self.errors, self.steps, self.artifacts = errors, steps, artifacts


@dataclass
class Making:
    """The making of a plan's steps. `artifacts` are by name of their step; `made` names those that were made now.

    Main makes whole stages, and tells the others when one is there, or when to take part in it. Parts of a stage are
    made by whoever finds them free: processes with one store share them, each on its own device, whether one launcher
    started them or a user several runs.
    """

    steps: Sequence[Step]
    pins: Pins
    store: Store
    team: Team
    progress: Progress
    emit: Emit
    run_name: str
    logs: Path  # see `Context`
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Make every step, or find it made."""
        for parent, some in groupby(self.steps, key=lambda step: step.part_of):
            if parent is not None:
                self._parts(list(some))
                continue
            for step in some:
                self.artifacts[step.name] = self._whole(step) if self.team.is_main else self._followed(step)

    def _whole(self, step: Step) -> Artifact:
        found = self.store.find(step.key)
        if found is not None:
            self._kept(step)
        else:
            found = self._make(step, wait=True)
        self.team.tell(f"made/{step.name}")
        return found

    def _followed(self, step: Step) -> Artifact:
        """The artifact that main makes, in part with this process."""
        note, _ = self.team.hear(f"made/{step.name}", f"join/{step.name}")
        if note.startswith("join/"):
            with _named(step):
                self._take_part(step)
            gc.collect()
            self.team.hear(f"made/{step.name}")
        if not appears(lambda: self.store.find(step.key) is not None):
            raise EmbedkitError(
                f"stages.{step.name}: made by process 0, but not in the store of process {self.team.rank} on "
                f"{socket.gethostname()}; all nodes need one store, on a file system they share"
            )
        return self.store.get(step.key)

    def _take_part(self, step: Step) -> None:
        with TemporaryDirectory() as scratch:
            if step.stage.together:
                context = self._context(step, self.store.work / step.key / "state")
                with self.team.training(step.key):
                    step.stage.run(self._inputs(step), Path(scratch), context)
            else:
                step.stage.share(self._inputs(step), self._context(step, Path(scratch)))

    def _parts(self, steps: Sequence[Step]) -> None:
        """Make the parts of a stage; those that another process is making are left for last."""
        failed: list[EmbedkitError] = []
        todo, busy = deque(steps), 0  # parts in a row that were found busy
        while todo:
            step = todo.popleft()
            found = self.store.find(step.key)
            try:
                if found is None:
                    found = self._make(step, wait=busy > len(todo))
                elif self.team.is_main and self.team.read(f"made/{step.name}") is not None:
                    self._finished(step, found)
                else:
                    self._kept(step)
            except Busy:
                todo.append(step)
                busy += 1
                continue
            except EmbedkitError as error:
                failed.append(error)
                self.emit("stage_failed", {"stage": step.name, "key": step.key, "problems": error.problems})
                continue
            self.artifacts[step.name], busy = found, 0
        if failed:
            if not self.team.is_main:
                self.team.wait_for_failure()  # which main tells
            raise PartsFailed(failed, self.steps, self.artifacts)

    def _make(self, step: Step, *, wait: bool) -> Artifact:
        """Run one step and publish its artifact."""

        def work(draft: Path, state: Path) -> dict[str, Any]:
            self._check_not_failed(step)
            started = datetime.now(UTC).isoformat(timespec="seconds")
            with measured() as meter:
                self._run(step, draft, self._context(step, state))
                gc.collect()  # models hold themselves in circles; without this each stage's stays until some later one
            check_unchanged(step.stage, self.pins, self.store)
            if step.part_of is not None:
                self.team.tell(f"made/{step.name}")
            return {
                "started": started,
                "seconds": round(meter.seconds, 3),
                "peak_memory": meter.peak_memory,
                "versions": versions(),
                "machine": machine(),
                **({"processes": self.team.size} if step.stage.together and self.team.several else {}),
            }

        facts = {"stage": step.name, "key": step.key, "part_of": step.part_of, "kind": step.stage.kind}
        self.emit("stage_started", facts)
        about = {
            "kind": step.stage.kind,
            "type": step.stage.produces,
            "spec": step.identity,
            "inputs": {**step.sources, **{f"parts.{name}": step.inputs[name] for name in step.stage.parts()}},
        }
        with _named(step):
            try:
                artifact = self.store.get_or_make(step.key, work, about=about, emit=self._emit_for(step), wait=wait)
            except EmbedkitError as error:
                if step.part_of is not None and not isinstance(error, Busy):
                    self.team.tell(f"failed/{step.key}", json.dumps(error.problems))
                raise
        self._finished(step, artifact)
        return artifact

    def _run(self, step: Step, draft: Path, context: Context) -> None:
        """Run a stage, with all processes where they can take part."""
        inputs, several = self._inputs(step), self.team.several and step.part_of is None
        shares = type(step.stage).share is not Stage.share
        if several and (step.stage.together or shares):
            self.team.tell(f"join/{step.name}")
        if several and step.stage.together:
            with self.team.training(step.key):
                step.stage.run(inputs, draft, context)
            return
        if several and shares:
            step.stage.share(inputs, context)
        step.stage.run(inputs, draft, context)

    def _check_not_failed(self, step: Step) -> None:
        """A part that failed in another process of the launch fails again, in the same words, without being tried."""
        told = self.team.read(f"failed/{step.key}")
        if told is not None:
            raise StageError(*json.loads(told))

    def _kept(self, step: Step) -> None:
        self.emit("stage_kept", {"stage": step.name, "key": step.key, "part_of": step.part_of})

    def _finished(self, step: Step, artifact: Artifact) -> None:
        self.made.append(step.name)
        taken = self.store.manifest(step.key).made
        facts = {
            "key": step.key,
            "part_of": step.part_of,
            "seconds": taken.get("seconds"),
            "peak_memory": taken.get("peak_memory"),
        }
        stats = read_stats(artifact.path)
        told = {name: [_in_names(text, step) for text in stats.get(name, [])] for name in ("summary", "warnings")}
        self._emit_for(step)("stage_finished", {**facts, **told})

    def _context(self, step: Step, state: Path) -> Context:
        emit = self._emit_for(step)
        name = f"{self.run_name}/{step.name}"
        return Context(
            state, self.store.embeddings, self.progress, emit, self.store.get, step.labels, name=name, logs=self.logs
        )

    def _emit_for(self, step: Step) -> Emit:
        return lambda event, facts: self.emit(event, {"stage": step.name, **facts})

    def _inputs(self, step: Step) -> dict[str, Artifact]:
        return {name: self.store.get(key) for name, key in step.inputs.items()}


@contextmanager
def _named(step: Step) -> Iterator[None]:
    """Errors say which stage they are of."""
    try:
        yield
    except Busy:
        raise
    except EmbedkitError as error:
        raise type(error)(*(f"stages.{step.name}: {problem}" for problem in error.problems)) from error


def _in_names(text: str, step: Step) -> str:
    """A line of an artifact's stats with the names of stages in place of keys, which are all that an artifact knows."""
    for key, name in step.labels.items():
        text = text.replace(key[:8], name)
    return text
