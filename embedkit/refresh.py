"""The stage `refresh`, written out: rounds of mining with the model so far, and of training on what it found."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import BeforeValidator, Field, PositiveInt, ValidationInfo, model_validator

from embedkit.core.errors import Problem
from embedkit.core.spec import Location
from embedkit.core.stage import Artifact, Context, Stage
from embedkit.mining.stage import Mine
from embedkit.mining.teach import Teach
from embedkit.training.parts import Part
from embedkit.training.stage import Train

GIVEN: Final[Mapping[str, tuple[str, ...]]] = {  # what the rounds say of each of their stages, so the recipe does not
    "mine": ("kind", "model"),
    "teach": ("kind", "pairs", "student"),
    "train": ("kind", "pairs", "part"),
}
_OWN: Final = "each round's own"  # stands for the name of a stage until rounds are written out


def _completed(value: Any, info: ValidationInfo, *, stage: type[Stage], kind: str) -> Any:
    if not isinstance(value, dict):
        return value
    for name in GIVEN[kind]:
        if name in value:
            raise ValueError(f"has {name!r}, which every round has of its own; leave it out")
    given = {name: _OWN for name in GIVEN[kind] if name not in ("kind", "part")}
    return stage.model_validate_json(
        json.dumps({**value, **given}, default=str), strict=True, context=info.context or {}
    )


class Refresh(Stage):
    """Train in rounds, before each of which the model so far mines negatives for itself (as ANCE does).

    A round is ordinary stages, which others may refer to: of a stage NAME, `NAME/1/mined` are pairs mined by
    `train.model`, `NAME/1` is the model after the first round's steps on them, which mines `NAME/2/mined`, and so on;
    the model of the last round is NAME itself. `mine` is a `mine` stage without its model, `train` a `train` stage
    without its pairs, and `teach`, where target scores are wanted, a `teach` stage without pairs and student, which
    then makes `NAME/1/taught` of what was mined.

    The rounds are parts of one training: schedule, warm-up, the optimiser's moments, averages of weights and passes
    over the rows go on from round to round, so with the same pairs all along the result is that of one training; but
    batches of clusters are made anew, by the weights that the round begins with.
    Rounds have equally many steps: say how many `rounds`, or after how many steps to mine (`every`), of which
    `train.steps` is then a multiple. With `train.epochs: 4` and `rounds: 4`, it is mined before every epoch. Negatives
    that stay, beside those that are mined anew, are `train.sources` with pairs of their own.
    Reference: https://arxiv.org/abs/2007.00808.
    """

    kind: Literal["refresh"] = "refresh"
    produces: ClassVar[str] = "model"

    rounds: Annotated[int, Field(ge=2)] | None = None
    every: PositiveInt | None = None  # steps of a round, in place of `rounds`
    mine: Annotated[Mine, BeforeValidator(partial(_completed, stage=Mine, kind="mine"))]
    teach: Annotated[Teach, BeforeValidator(partial(_completed, stage=Teach, kind="teach"))] | None = None
    train: Annotated[Train, BeforeValidator(partial(_completed, stage=Train, kind="train"))]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.rounds is None) == (self.every is None):
            raise ValueError("needs either rounds or every (steps of a round)")
        steps, every = self.train.steps, self.every
        if every is not None and (steps is None or steps % every or steps == every):
            found = "has none" if steps is None else f"has {steps}"
            raise ValueError(f"every {every} steps: train.steps is to be two or more times {every}, but {found}")
        if steps is not None and self.count > steps:
            raise ValueError(f"{self.count} rounds of {steps} steps; a round has at least one")
        if self.train.sharding != "none":
            raise ValueError("a round keeps the optimiser's state whole, so train needs sharding: none")
        return self

    @property
    def count(self) -> int:
        """How many rounds."""
        return self.rounds or (self.train.steps or 0) // (self.every or 1)

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Never: a recipe has the rounds in its place."""
        raise TypeError("a refresh stage stands for its rounds; plan those that `rounds_of` gives")


def rounds_of(name: str, refresh: Refresh) -> dict[str, Stage]:
    """The stages that a refresh stage of that name stands for, in order; the last has its name."""
    stages: dict[str, Stage] = {}
    model = refresh.train.model
    for number in range(1, refresh.count + 1):
        here = f"{name}/{number}"
        pairs = f"{here}/mined"
        stages[pairs] = refresh.mine.model_copy(update={"model": model})
        if refresh.teach is not None:
            pairs = f"{here}/taught"
            stages[pairs] = refresh.teach.model_copy(update={"pairs": f"{here}/mined", "student": model})
        part = Part(number=number, of=refresh.count, after=model if number > 1 else None)
        model = name if number == refresh.count else here
        stages[model] = refresh.train.model_copy(update={"pairs": pairs, "part": part})
    return stages


@dataclass(frozen=True)
class Rounds:
    """Stages of a recipe in which rounds stand in place of `refresh` stages, and where in the recipe each is from."""

    stages: Mapping[str, Stage]
    places: Mapping[str, Location]  # name of a round's stage -> place of what it was made from

    @staticmethod
    def of(stages: Mapping[str, Stage]) -> "Rounds":
        """Those of these stages."""
        found: dict[str, Stage] = {}
        places: dict[str, Location] = {}
        for name, stage in stages.items():
            made = rounds_of(name, stage) if isinstance(stage, Refresh) else {name: stage}
            found |= made
            if isinstance(stage, Refresh):
                places |= {inner: ("stages", name, _field(one)) for inner, one in made.items()}
        return Rounds(found, places)

    def located(self, problems: Iterable[Problem]) -> Iterator[Problem]:
        """The problems where the recipe has them; what is wrong in every round is told of the first."""
        told: set[Location] = set()
        for problem in problems:
            place = self.places.get(str(problem.where[1])) if len(problem.where) > 1 else None
            if place is None:
                yield problem
            elif (where := _place(place, problem.where[2:])) not in told:
                told.add(where)
                yield Problem(where, problem.message)


def _place(of_stage: Location, inner: Location) -> Location:
    """Where a recipe says what stands at `inner` in a round's stage: every model is `train.model`, or comes of it."""
    if inner[:1] in (("model",), ("student",)):
        return (*of_stage[:-1], "train", "model")
    return (*of_stage, *inner)


def _field(stage: Stage) -> str:
    """The field of `Refresh` that a round's stage comes from, which is called as its kind."""
    return stage.kind


def tagged(spec: Any) -> Any:
    """A stage as the recipe has it; the stages in one that is `refresh` say their kind, for messages about them."""
    if not isinstance(spec, dict) or spec.get("kind") != "refresh":
        return spec
    return {k: {"kind": k, **v} if k in GIVEN and isinstance(v, dict) else v for k, v in spec.items()}


def complete_schema(definitions: dict[str, Any]) -> None:
    """What the schema of a refresh stage calls a whole stage is one that lacks what its rounds say."""
    fields = definitions["Refresh"]["properties"]
    for field, given in GIVEN.items():
        whole = {"mine": "Mine", "teach": "Teach", "train": "Train"}[field]
        lacking = json.loads(json.dumps(definitions[whole]))
        lacking["title"] = f"{whole}OfRefresh"
        for name in given:
            lacking["properties"].pop(name, None)
        lacking["required"] = [name for name in lacking.get("required", ()) if name not in given]
        definitions[lacking["title"]] = lacking
        reference = {"$ref": f"#/$defs/{lacking['title']}"}
        fields[field] = {"anyOf": [reference, {"type": "null"}], "default": None} if field == "teach" else reference
