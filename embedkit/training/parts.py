"""A training in several stages, each of which goes on where the one before it stopped."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Self

from pydantic import Field, PositiveInt, model_validator

from embedkit.core.errors import Problem, StageError
from embedkit.core.spec import Execution, ModelRef, Spec
from embedkit.core.stage import Stage

_MAY_DIFFER: Final = {"pairs", "part"}


class Part(Spec):
    """Which part of a longer training a stage is.

    The training has `of` parts of equally many steps. Learning rate, warm-up, the optimiser's moments, averages of
    weights, what losses remember and random numbers go on from part to part as if it were one training; only the pairs
    may change, and batches of clusters are made anew, by the weights that the part begins with. `model` is in every
    part the one that the whole training begins with; what comes between is found in the artifact of the part before,
    in a file that is not part of that model.
    """

    number: PositiveInt
    of: Annotated[int, Field(ge=2)]
    after: ModelRef | None = None  # the stage that is the part before

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.number > self.of:
            raise ValueError(f"is number {self.number} of {self.of} parts")
        if self.number == 1 and self.after is not None:
            raise ValueError(f"part 1 has none before it, so leave out `after: {self.after}`")
        if self.number > 1 and self.after is None:
            raise ValueError(f"part {self.number} needs `after`: the stage that is part {self.number - 1}")
        return self

    def span(self, steps: int) -> tuple[int, int]:
        """Steps that are done before and after it, of so many in all."""
        return steps * (self.number - 1) // self.of, steps * self.number // self.of

    def own_span(self, steps: int) -> tuple[int, int]:
        """The same. Raises `StageError` where that is not one step."""
        begin, end = self.span(steps)
        if begin == end:
            raise StageError(
                f"part: number {self.number} of {self.of} has none of the {steps} steps of the whole training; "
                "train for more steps, or in fewer parts or rounds"
            )
        return begin, end

    def begins(self, steps: int) -> list[int]:
        """The first step of every part up to this one, counted from 1."""
        return [1 + steps * number // self.of for number in range(self.number)]


def part_conflicts(stage: Stage, part: Part, stages: Mapping[str, Stage]) -> Iterator[Problem]:
    """Where `stage` does not go on with the stage that it says is the part before it."""
    before = stages.get(part.after or "")
    if before is None:
        return
    where, wanted = ("part", "after"), f"part {part.number - 1} of {part.of}"
    earlier: Any = getattr(before, "part", None)
    if earlier is None or (earlier.number, earlier.of) != (part.number - 1, part.of):
        found = "no part of a training" if earlier is None else f"part {earlier.number} of {earlier.of}"
        yield Problem(where, f"needs the stage that is {wanted}, but {part.after!r} is {found}")
        return
    for name in _settled(stage):
        here, there = _setting(stage, name), _setting(before, name)
        if here != there:
            yield Problem((name,), f"found {here!r}, but {part.after!r}, which this continues, has {there!r}")


def _settled(stage: Stage) -> Iterator[str]:
    """Fields that all parts have in common."""
    for name, field in type(stage).model_fields.items():
        if name not in _MAY_DIFFER and not any(isinstance(mark, Execution) for mark in field.metadata):
            yield name


def _setting(stage: Stage, name: str) -> Any:
    value = stage.model_dump(mode="json").get(name)
    if name == "sources":  # their pairs may change as well
        return [{key: inner for key, inner in source.items() if key != "pairs"} for source in value or ()]
    return value
