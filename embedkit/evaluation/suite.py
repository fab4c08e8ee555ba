"""A suite: the tasks that models are measured by, as a file of its own that recipes and commands name.

    name: mine
    tasks:
      SciFact: {kind: mteb, name: SciFact}
      pages: {kind: retrieval, source: {kind: beir, path: data/pages}, split: test}
      english: {kind: benchmark, name: "MTEB(eng, v2)"}      # stands for all its text tasks, by their own names

Paths in it are relative to it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, JsonValue, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError

from embedkit.core.document import Document, parse
from embedkit.core.errors import DataError, Problem, RecipeError, did_you_mean
from embedkit.core.spec import Spec
from embedkit.core.validation import problems_of
from embedkit.evaluation.registry import Selection, registry
from embedkit.evaluation.stage import Metrics, TaskName
from embedkit.evaluation.tasks import (
    ClassificationTask,
    ClusteringTask,
    MtebTask,
    PairClassificationTask,
    RerankingTask,
    Role,
    StsTask,
)

Prompts = Mapping[Role, str]
# `eval/` lies inside the package when it is installed from a wheel, beside it in a checkout
_PLACES: Final = (Path(__file__).parents[1] / "eval" / "suites", Path(__file__).parents[2] / "eval" / "suites")


class RetrievalTask(Spec):
    """Retrieval on data that the recipe does not have yet: a `data` stage and a local task on it."""

    kind: Literal["retrieval"] = "retrieval"
    source: Mapping[str, JsonValue]  # as of a `data` stage, which checks it
    split: Literal["train", "dev", "test"] = "test"
    prompts: Prompts = Field(default_factory=dict)


class BenchmarkTasks(Spec):
    """All text tasks of a benchmark of mteb, with the splits and subsets that count there."""

    kind: Literal["benchmark"] = "benchmark"
    name: str
    prompts: Prompts = Field(default_factory=dict)

    def selections(self) -> list[Selection]:
        """Its tasks. Raises `DataError` if mteb has no such benchmark."""
        return registry().text_tasks(self.name)


SuiteTask = Annotated[
    RetrievalTask
    | BenchmarkTasks
    | MtebTask
    | StsTask
    | ClassificationTask
    | ClusteringTask
    | PairClassificationTask
    | RerankingTask,
    Field(discriminator="kind"),
]


class Significance(Spec):
    """How differences between models on the suite are judged."""

    samples: PositiveInt = 10_000  # resamples of the bootstrap, sign patterns of the randomisation test
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    seed: NonNegativeInt = 0
    correction: Literal["holm", "none"] = "holm"  # of p-values, for there being several comparisons


class Suite(Spec):
    """Tasks, metrics of those that rank, prompts for all of them, and how differences are judged."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
    tasks: Annotated[Mapping[TaskName, SuiteTask], Field(min_length=1)]
    metrics: Metrics | None = None  # None: those of the stage
    prompts: Prompts = Field(default_factory=dict)  # a task's own go before them
    undeclared_prompts: bool = False  # take prompts that a model was not made for
    groups: Mapping[TaskName, TaskName] = Field(default_factory=dict)  # task -> what it is a part of, as of the stage
    significance: Significance = Significance()

    def official(self) -> Iterator[MtebTask]:
        """Its official tasks, those of benchmarks included. Raises `DataError` for an unknown benchmark."""
        for task in self.tasks.values():
            if isinstance(task, MtebTask):
                yield task
            elif isinstance(task, BenchmarkTasks):
                for chosen in task.selections():
                    yield MtebTask(name=chosen.name, splits=chosen.splits, subsets=chosen.subsets)

    def grouped(self) -> dict[str, str]:
        """Task -> what it is a part of: as `groups` says, else as its benchmarks do. Raises `DataError` likewise."""
        benchmarks = [task for task in self.tasks.values() if isinstance(task, BenchmarkTasks)]
        chosen = [one for task in benchmarks for one in task.selections()]
        return {**{one.name: one.group for one in chosen if one.group}, **self.groups}

    def left_out(self) -> Iterator[str]:
        """A line for each of its benchmarks that has tasks which cannot be evaluated. Raises `DataError` likewise."""
        for task in self.tasks.values():
            if isinstance(task, BenchmarkTasks) and (told := registry().told_left_out(task.name)) is not None:
                yield told

    def unknown_benchmarks(self) -> Iterator[Problem]:
        """Those that mteb does not have, or of which nothing can be evaluated."""
        for name, task in self.tasks.items():
            if isinstance(task, BenchmarkTasks):
                try:
                    if not task.selections():
                        yield Problem(("tasks", name, "name"), str(registry().told_left_out(task.name)))
                except DataError as error:
                    yield Problem(("tasks", name, "name"), str(error))


_ADAPTER: Final[TypeAdapter[Suite]] = TypeAdapter(Suite)


@dataclass(frozen=True)
class SuiteFile:
    """A suite and the file it is from."""

    suite: Suite
    document: Document
    path: Path

    @property
    def folder(self) -> Path:
        """What its paths are relative to."""
        return self.path.parent


def load_suite(name: str | Path, folder: Path = Path()) -> SuiteFile:
    """The suite of that name that ships with embedkit, or in a file, relative to `folder`.

    A name with a slash or the suffix .yaml is a file's. Raises `RecipeError` with all problems of the file, one line
    each: `file:line: where: what; what would be right`. Sources of retrieval tasks are left to be checked by the stage
    that reads them.
    """
    path = _find(str(name), folder)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise RecipeError(f"{path}: cannot read the suite: {reason}") from None
    document = parse(text, str(path))
    if document.problems:
        raise RecipeError(*(f"{document.where(p.where).text}: {p}" for p in document.problems))
    if not isinstance(document.value, dict):
        raise RecipeError(f"{path}:1: a suite is a mapping with the keys {list(Suite.model_fields)}")
    try:
        suite = _ADAPTER.validate_json(
            json.dumps(document.value, default=str), strict=True, context={"folder": path.parent}
        )
    except ValidationError as error:
        problems = problems_of(error, document.value, (), definitions=lambda: schema()["$defs"])
        raise RecipeError(*dict.fromkeys(located(document, problems))) from None
    return SuiteFile(suite, document, path)


def located(document: Document, problems: Iterator[Problem]) -> list[str]:
    """Problems with their places in the file, in its order."""
    found = sorted(((document.where(p.where), p) for p in problems), key=lambda item: item[0])
    return [f"{where.text}: {problem}" for where, problem in found]


def shipped() -> dict[str, Path]:
    """The suites that ship with embedkit: name -> file."""
    place = next((place for place in _PLACES if place.is_dir()), None)
    return {path.stem: path for path in sorted(place.glob("*.yaml"))} if place is not None else {}


def schema() -> dict[str, Any]:
    """JSON schema of a suite, for editors."""
    found = _ADAPTER.json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found, "title": "embedkit suite"}


def _find(name: str, folder: Path) -> Path:
    if "/" in name or "\\" in name or name.endswith((".yaml", ".yml")):
        return folder / name
    known = shipped()
    if name not in known:
        hint = did_you_mean(name, known)
        raise RecipeError(f"no suite is named {name!r}; there are {list(known)}{hint}; a file's name ends in .yaml")
    return known[name]
