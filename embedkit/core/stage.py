"""What a recipe stage is, and what it is given when it runs."""

import abc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from embedkit.core.errors import Problem
from embedkit.core.estimate import Estimate, Size
from embedkit.core.progress import Emit, Progress, ignore, silent
from embedkit.core.spec import Spec


@dataclass(frozen=True)
class Artifact:
    """A finished artifact: its key and the folder that holds it."""

    key: str
    path: Path


@dataclass(frozen=True)
class Context:
    """What a running stage may use besides its inputs.

    `work` is a folder of this artifact's own that survives failure and `kill -9`: checkpoints and finished parts go
    there. `embeddings` is the root of the embedding store. `emit(event, facts)` tells the run's log what happened;
    events that end a piece of durable work are also the points where tests kill the process.
    """

    work: Path
    embeddings: Path
    progress: Progress = silent
    emit: Emit = ignore
    lookup: Callable[[str], Artifact] | None = None  # key of a finished artifact -> artifact
    labels: Mapping[str, str] = field(default_factory=dict)  # key -> stage name; only for `labelled` stages
    name: str = ""  # of the stage and the run, for people; nothing in the artifact may depend on it
    logs: Path | None = None  # a folder beside the run's outputs, which may not be there yet; None: below `work`


class Stage(Spec, abc.ABC):
    """One step of a recipe: reads the artifacts of earlier stages, writes one of its own."""

    kind: str
    produces: ClassVar[str]  # the type of the artifact `run` writes
    version: ClassVar[int] = 1  # raise it when the same spec and inputs now give another artifact
    labelled: ClassVar[bool] = False  # True: the artifact shows stage names, so they enter its key
    together: ClassVar[bool] = False  # True: all processes of a launch run it, and the first writes the artifact

    @abc.abstractmethod
    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Write the artifact into the empty folder `out`. `inputs` maps every name this spec refers to (and every
        name in `parts`) to its artifact."""

    def share(self, inputs: Mapping[str, Artifact], context: Context) -> None:
        """Do ahead of `run` what the processes of a launch can divide among them, such as vectors: all come here, and
        one then runs. Does nothing that `run` would not do without it."""
        return

    def parts(self) -> Mapping[str, "Stage"]:
        """Stages this one is made of, by a name of their own (with a slash in it); each is stored on its own."""
        return {}

    @property
    def scored(self) -> bool:
        """Whether the pairs it makes have target scores."""
        return False

    def conflicts(self, stages: Mapping[str, "Stage"]) -> Iterator[Problem]:
        """What cannot work between this stage and the stages it refers to, seen before anything runs; places are
        relative to this stage. References to stages that do not exist are told elsewhere."""
        return iter(())

    def estimate(self, inputs: Mapping[str, Size]) -> Estimate:
        """What running this stage would take, as far as its inputs tell; may read external files, writes nothing."""
        return Estimate()

    def facts(self) -> Mapping[str, JsonValue]:
        """Facts about the machine or an outside service that a run must settle first, e.g. an installed package's
        folder digest. They enter the key."""
        return {}


def require_lookup(context: Context) -> Callable[[str], Artifact]:
    """The context's way to other artifacts, for stages that walk lineage."""
    if context.lookup is None:
        raise RuntimeError("this stage walks lineage and must be run by the runner")
    return context.lookup
