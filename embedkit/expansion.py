"""`suite:` in a stage, written out: tasks for the stage, and a `data` stage for each set to search in."""

import copy
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from embedkit.core.document import Document
from embedkit.core.errors import DataError, Problem, RecipeError, did_you_mean, first_few
from embedkit.core.spec import External, Location, marked
from embedkit.data.stage import Data
from embedkit.evaluation.mirror.manifest import entry_of
from embedkit.evaluation.suite import BenchmarkTasks, RetrievalTask, SuiteFile, load_suite, located

SUITE: Final = "suite"  # the stage's key
_KINDS: Final = ("evaluate", "contamination")
_AS_GIVEN: Final = {"exact_duplicates": False, "near_duplicates": None}  # a benchmark's corpus is what it is


def expand_suites(document: Document, folder: Path) -> Iterator[Problem]:
    """Put what suites stand for in place of them. A suite that cannot be read is a problem at the stage's key.

    Mistakes that are seen only when the stages put in are checked have places in the suite's file.
    """
    stages = document.value.get("stages") if isinstance(document.value, dict) else None
    for name, stage in list(stages.items()) if isinstance(stages, dict) else ():
        if isinstance(stage, dict) and stage.get("kind") in _KINDS and SUITE in stage:
            where = ("stages", str(name), SUITE)
            given = stage[SUITE]
            if not isinstance(given, str):
                yield Problem(where, f"found {given!r}; expected the name of a suite, or the path of its file")
                continue
            try:
                expand(document, str(name), load_suite(given, folder))
            except RecipeError as error:
                yield from (Problem(where, problem) for problem in error.problems)


def expand(
    document: Document,
    stage: str,
    suite: SuiteFile,
    *,
    only: Collection[str] | None = None,
    mirror: Path | None = None,
) -> None:
    """Give the stage of that name the tasks of the suite (`only` those, if given), its metrics and prompts.

    `mirror` is where official tasks have their data. Reports of the stage judge differences as the suite says, where
    they do not say it themselves. Raises `RecipeError` for a benchmark or a task in `only` that does not exist, and
    where a stage that the suite needs has the name of another; `DataError` if the mirror lacks a task.
    """
    tasks = _chosen(suite, only, mirror)
    stages = document.value["stages"]
    given = stages[stage]
    given.pop(SUITE, None)
    if not isinstance(own := given.setdefault("tasks", {}), dict):
        return  # told when the stage is checked
    for name, task in tasks.items():
        if name in own:
            continue  # what the stage says itself goes before
        place: Location = ("stages", stage, "tasks", name)
        if task.source is not None:
            data = f"{stage}-{re.sub('[^A-Za-z0-9_-]', '-', name)}"
            if data in stages:
                raise RecipeError(f"its task {name!r} needs a stage named {data!r} for its data, but there is another")
            value = {"kind": "data", "source": _with_paths(task.source, suite.folder), **_AS_GIVEN}
            document.graft(("stages", data), value, suite.document, task.place)
            task.value["data"] = data
        if mirror is not None and task.value["kind"] == "mteb":
            task.value.setdefault("mirror", str(mirror / task.value["name"]))
        document.graft(place, task.value, suite.document, task.place)
    if given.get("kind") == "evaluate":
        _group(document, stage, suite, tasks)
        if only is None and "notes" not in given and (notes := list(suite.suite.left_out())):
            document.graft(("stages", stage, "notes"), notes, suite.document, ("tasks",))
    _settle(document, stage, suite)


@dataclass(frozen=True)
class _Task:
    """A task as a recipe has it."""

    name: str
    value: dict[str, Any]
    place: Location  # in the suite's file
    source: dict[str, Any] | None = None  # of the data that it still lacks


def _chosen(suite: SuiteFile, only: Collection[str] | None, mirror: Path | None) -> dict[str, _Task]:
    """The tasks of `only`, or all, after what is wrong with names and mirror was told."""
    if problems := located(suite.document, suite.suite.unknown_benchmarks()):
        raise RecipeError(*problems)
    tasks = {task.name: task for task in _tasks(suite)}
    unknown = (Problem(("groups", name), "there is no such task") for name in suite.suite.groups if name not in tasks)
    if problems := located(suite.document, unknown):
        raise RecipeError(*problems)
    if missing := [name for name in only or () if name not in tasks]:
        hint = did_you_mean(missing[0], tasks)
        raise RecipeError(f"the suite {suite.suite.name} has no task {missing[0]!r}; it has {list(tasks)}{hint}")
    chosen = {name: task for name, task in tasks.items() if only is None or name in only}
    if mirror is not None:
        _check_mirror(mirror, chosen.values())
    return chosen


def _check_mirror(mirror: Path, tasks: Iterable[_Task]) -> None:
    """Raise one `DataError` for all official tasks that it lacks."""
    problems: list[str] = []
    for task in tasks:
        if task.value["kind"] == "mteb" and "mirror" not in task.value:
            try:
                entry_of(mirror, task.value["name"])
            except DataError as error:
                problems += error.problems
    if problems:
        raise DataError(*(first_few(problems, limit=5) if mirror.is_dir() else problems[:1]))


def _tasks(file: SuiteFile) -> Iterator[_Task]:
    """The suite's tasks in its order, those of benchmarks where the benchmark stands, unless they have their own."""
    raw = file.document.value["tasks"]
    named = set(file.suite.tasks)
    for name, task in file.suite.tasks.items():
        place: Location = ("tasks", name)
        prompts = {**file.suite.prompts, **task.prompts}
        shared: dict[str, Any] = {"prompts": prompts} if prompts else {}
        if file.suite.undeclared_prompts:
            shared["undeclared_prompts"] = True
        if isinstance(task, RetrievalTask):
            yield _Task(name, {"kind": "local", "split": task.split, **shared}, place, dict(raw[name]["source"]))
        elif isinstance(task, BenchmarkTasks):
            for chosen in task.selections():
                limits = {"splits": chosen.splits, "subsets": chosen.subsets}
                value = {
                    "kind": "mteb",
                    "name": chosen.name,
                    **{k: list(v) for k, v in limits.items() if v},
                    **copy.deepcopy(shared),
                }
                if chosen.name not in named:
                    named.add(chosen.name)
                    yield _Task(chosen.name, value, place)
        else:
            paths = {str(where[-1]): str(path.resolve()) for where, path, _ in marked(task, External) if path}
            yield _Task(name, {**raw[name], **paths, **shared}, place)


def _with_paths(source: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A source whose paths no longer depend on where the suite lies; what is wrong with it, its stage will tell."""
    value: dict[str, Any] = {"source": json.loads(json.dumps(source, default=str))}
    try:
        stage = Data.model_validate_json(
            json.dumps({"kind": "data", **value}), strict=True, context={"folder": folder.resolve()}
        )
    except ValidationError:
        return dict(value["source"])
    for where, path, _ in marked(stage, External):
        if path is not None:
            spot: Any = value
            for part in where[:-1]:
                spot = spot[part]
            spot[where[-1]] = str(path)
    return dict(value["source"])


def _group(document: Document, stage: str, file: SuiteFile, tasks: Mapping[str, _Task]) -> None:
    """Groups of these tasks, where the stage does not say them itself."""
    found = {name: group for name, group in file.suite.grouped().items() if name in tasks}
    if found and isinstance(own := document.value["stages"][stage].setdefault("groups", {}), dict):
        for name in (name for name in found if name not in own):
            place: Location = ("groups", name) if name in file.suite.groups else tasks[name].place
            document.graft(("stages", stage, "groups", name), found[name], file.document, place)


def _settle(document: Document, stage: str, file: SuiteFile) -> None:
    """Metrics of the stage and significance of its reports, where they are silent and the suite is not."""
    raw, stages = file.document.value, document.value["stages"]
    if stages[stage].get("kind") != "evaluate":
        return
    if "metrics" in raw and "metrics" not in stages[stage]:
        document.graft(("stages", stage, "metrics"), list(raw["metrics"]), file.document, ("metrics",))
    said = file.suite.significance
    for name, other in stages.items():
        if isinstance(other, dict) and other.get("kind") in ("report", "package") and other.get("scores") == stage:
            for field in ("samples", "confidence", "seed") if "significance" in raw else ():
                if field not in other:
                    place: Location = ("stages", name, field)
                    document.graft(place, getattr(said, field), file.document, ("significance", field))
