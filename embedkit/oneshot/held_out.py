"""What a command holds training data against: folders, and the tasks of a suite."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from embedkit.core.dataset import open_dataset
from embedkit.core.document import Document
from embedkit.core.errors import DataError, RecipeError
from embedkit.core.progress import Progress
from embedkit.core.store import MANIFEST
from embedkit.data.sources import AnySource, BeirFolder
from embedkit.data.table_files import find_table
from embedkit.evaluation.contamination.held import Held
from embedkit.evaluation.contamination.tasks import of_dataset, open_tasks
from embedkit.evaluation.mirror.manifest import DATA, read_manifest
from embedkit.evaluation.suite import SuiteFile, load_suite
from embedkit.evaluation.tasks import AnyTask, LocalTask, MtebTask
from embedkit.expansion import expand

_SOURCE: Final[TypeAdapter[Any]] = TypeAdapter(AnySource)
_TASK: Final[TypeAdapter[Any]] = TypeAdapter(AnyTask)
_STAGE: Final = "held"
_TAKEN: Final = "it takes BEIR folders, datasets, and tasks of a mirror"
_NAMED: Final = re.compile(r"(?P<name>[^=/\\\s]+)=(?P<folder>.+)")


def held_in_folders(words: Sequence[str], work: Path, progress: Progress) -> list[Held]:
    """`[NAME=]DIR` of BEIR folders, datasets, and tasks of a mirror; without a name, by the folder's.

    Raises `DataError` or `RecipeError` if one is none of these, or two have one name.
    """
    found: list[Held] = []
    for number, word in enumerate(words):
        match = _NAMED.fullmatch(word)
        folder = Path(match["folder"] if match else word)
        name = match["name"] if match else folder.resolve().name
        place = work / f"against-{number}"
        place.mkdir(parents=True)
        found += _folder(name, folder, place, progress)
    return _distinct(found, "--against", "name them with --against NAME=DIR")


def held_in_suite(name: str, mirror: Path | None, work: Path, progress: Progress) -> list[Held]:
    """The tasks of a suite; `mirror` holds the data of official ones. Raises `RecipeError` for a faulty suite."""
    suite = load_suite(name)
    document = Document({"stages": {_STAGE: {"kind": "evaluate"}}}, f"--suite {name}")
    expand(document, _STAGE, suite, mirror=mirror)
    stages, found = document.value["stages"], list[Held]()
    for number, (task_name, value) in enumerate(stages[_STAGE]["tasks"].items()):
        place = work / f"suite-{number}"
        place.mkdir(parents=True)
        task = _checked(_TASK, value, suite, task_name)
        if isinstance(task, LocalTask):
            source = _checked(_SOURCE, stages[task.data]["source"], suite, task_name)
            dataset = source.load(place, progress)[0].dataset()
            found.append(of_dataset(task_name, dataset, (task.split,)))
        else:
            found += open_tasks({task_name: task}, {}, place)
    return _distinct(found, f"--suite {name}", "leave one of them out")


def _folder(name: str, folder: Path, work: Path, progress: Progress) -> list[Held]:
    if not folder.is_dir():
        raise DataError(f"--against {folder}: is no folder; {_TAKEN}")
    if (folder / "corpus.parquet").is_file() and any(folder.glob("qrels/*.parquet")):
        return [of_dataset(name, open_dataset(folder, work))]
    if (folder / MANIFEST).is_file() and (folder / DATA).is_dir():
        task = MtebTask(name=read_manifest(folder).task, mirror=folder)
        return open_tasks({name: task}, {}, work)
    if inside := sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST}") if (path.parent / DATA).is_dir()):
        raise DataError(f"--against {folder}: is a mirror; name one of its tasks, e.g. {folder / inside[0]}")
    if find_table(folder, "corpus") is None:
        raise DataError(f"--against {folder}: has no corpus; {_TAKEN}")
    tables, rejects = BeirFolder(path=folder, on_bad_row="drop", metadata=False).load(work, progress)
    left_out = [f"{folder}/{row['where']}: {row['problem']}" for row in rejects.rows]
    return [replace(of_dataset(name, tables.dataset()), left_out=left_out)]


def _checked(adapter: TypeAdapter[Any], value: Any, suite: SuiteFile, task: str) -> Any:
    """What a suite says of a task, or of its data, as a spec."""
    try:
        return adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(("tasks", task, *map(str, first["loc"])))
        raise RecipeError(f"{suite.path}: {where}: {first['msg']}") from None


def _distinct(found: list[Held], option: str, advice: str) -> list[Held]:
    names = [held.name for held in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise RecipeError(f"{option}: two tasks are called {twice[0]!r}; {advice}")
    return found
