"""What every kind of task shares."""

import abc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from embedkit.core.errors import Problem
from embedkit.core.spec import Execution, Spec
from embedkit.core.stage import Artifact

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask as AbsTask
else:
    AbsTask = Any  # importing mteb takes seconds

Role = Literal["query", "document", "text"]  # text: where both sides of a comparison are alike


class Task(Spec, abc.ABC):
    """What a model is scored on: data, and one of mteb's own task classes, so that numbers are mteb's."""

    kind: str
    prompts: Mapping[Role, str] = Field(default_factory=dict)  # for this task, in place of the model's own
    undeclared_prompts: Annotated[bool, Execution()] = False  # take prompts that the model was not made for

    @abc.abstractmethod
    def open(self, inputs: Mapping[str, Artifact], work: Path) -> AbsTask:
        """The task with its data, for `mteb.evaluate`. To be called within `contained`, since it imports mteb.

        `inputs` maps every stage the spec names to its artifact; files that must be made go into `work`.
        Raises `DataError` with a line for each problem of the data.
        """

    def conflicts(self) -> Iterator[Problem]:
        """What is wrong with the task and can be seen before anything runs; places are relative to it."""
        return iter(())
