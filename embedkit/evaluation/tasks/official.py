"""Tasks of mteb, by name."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from embedkit.core.errors import Problem, did_you_mean
from embedkit.core.spec import LocalPath
from embedkit.core.stage import Artifact
from embedkit.evaluation.tasks.base import AbsTask, Task

Names = Annotated[tuple[str, ...], Field(min_length=1)]


class MtebTask(Task):
    """An official task of mteb: its own class, on its own data set at the revision mteb pins, or on a mirror of it."""

    kind: Literal["mteb"] = "mteb"
    name: str
    mirror: LocalPath | None = None  # the task's folder in a mirror; None: the hub
    splits: Names | None = None  # None: those mteb evaluates
    subsets: Names | None = None

    def open(self, inputs: Mapping[str, Artifact], work: Path) -> AbsTask:
        """The task of that name; from a mirror, every file is verified first."""
        from embedkit.evaluation.official import official_task

        return official_task(self.name, self.mirror, work=work, splits=self.splits, subsets=self.subsets)

    def conflicts(self) -> Iterator[Problem]:
        """A name, a split or a subset that mteb does not have."""
        from embedkit.evaluation.registry import registry

        known = registry().tasks
        if (task := known.get(self.name)) is None:
            yield Problem(("name",), f"mteb has no task {self.name!r}{did_you_mean(self.name, known)}")
            return
        if task.parts:
            yield Problem(("name",), f"{self.name} is the mean of other tasks; name those: {', '.join(task.parts)}")
        if task.modalities != ("text",):
            yield Problem(("name",), f"{self.name} needs {' and '.join(task.modalities)}; only text can be evaluated")
        if not task.public and self.mirror is None:
            yield Problem(("name",), f"{self.name}: its data are not public")
        if self.mirror is not None and self.mirror.name != self.name:
            yield Problem(("mirror",), f"{self.mirror}: is not the folder of {self.name}, which is MIRROR/{self.name}")
        for where, given, there in (("splits", self.splits, task.splits), ("subsets", self.subsets, task.subsets)):
            for name in (name for name in given or () if name not in there):
                yield Problem(
                    (where,),
                    f"{self.name} has no {where[:-1]} {name!r}; it has {list(there)}{did_you_mean(name, there)}",
                )
