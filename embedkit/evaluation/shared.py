"""A results folder that several runs share: models side by side, with all that intervals are computed from.

    <folder>/scores/<name>/<revision>/model.json      name, revision, parameters, dimensions, max_tokens
                                      <task>/         a scores artifact of this model and task alone, without texts

Names are quoted as in a URL, so that each is one folder. A task's folder appears whole, by one rename, and never
changes afterwards.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import quote

from filelock import FileLock

from embedkit.core.entry import Entry, Facts
from embedkit.core.errors import ArtifactError, DataError, RecipeError
from embedkit.core.scores import (
    Items,
    ModelScores,
    PerQuery,
    TaskScores,
    read_items,
    read_per_query,
    read_scores,
    write_items,
    write_per_query,
    write_scores,
)
from embedkit.core.store import digests, sync_folder, sync_tree, write_atomically

FOLDER: Final = "scores"
_MODEL, _LOCK, _KEY = "model.json", ".lock", "model"


@dataclass(frozen=True)
class Added:
    """What became of the scores of one model."""

    folder: Path
    written: Sequence[str]  # tasks
    kept: Sequence[str]  # tasks whose scores were there already


def add(entry: Entry, to: Path) -> Added:
    """Add a model's scores to the results folder `to`, which is made if there is none.

    Raises `DataError`, a line a task, and writes nothing, if the folder has other scores of this model at this
    revision; `RecipeError` if name or revision are empty.
    """
    if not (entry.name and entry.revision):
        raise RecipeError("a results folder needs a name and a revision of the model")
    folder = to / FOLDER / _quoted(entry.name) / _quoted(entry.revision)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(to / FOLDER / _LOCK), tempfile.TemporaryDirectory(dir=to / FOLDER, prefix=".draft-") as work:
        drafts = _drafts(entry, Path(work))
        there = {task: draft for task, draft in drafts.items() if (folder / draft.name).exists()}
        problems = [
            f"{folder / draft.name}: has other scores of {entry.name} on {task}; results are never replaced: remove "
            "that folder or give another revision"
            for task, draft in there.items()
            if not _same(draft, folder / draft.name)
        ]
        if problems:
            raise DataError(*problems)
        _describe(folder / _MODEL, entry)
        for task, draft in drafts.items():
            if task not in there:
                sync_tree(draft)
                draft.rename(folder / draft.name)
        sync_folder(folder)
    return Added(folder, [task for task in drafts if task not in there], list(there))


def read(folder: Path) -> list[Entry]:
    """The models of a results folder, in the order of their names. Raises `ArtifactError` for a damaged file."""
    return [_entry(path.parent) for path in sorted((folder / FOLDER).glob(f"*/*/{_MODEL}"))]


def _entry(folder: Path) -> Entry:
    try:
        said = json.loads((folder / _MODEL).read_text(encoding="utf-8"))
        name, revision, facts = str(said.pop("name")), str(said.pop("revision")), Facts(**said)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{folder / _MODEL}: cannot be read ({error!r})") from None
    tasks, units, items = dict[str, TaskScores](), dict[str, PerQuery](), dict[str, Items]()
    for path in _task_folders(folder):
        tasks |= {task: scores for model in read_scores(path) for task, scores in model.tasks.items()}
        units |= {task: values for (_, task), values in read_per_query(path).items()}
        items |= {task: values for (_, task), values in read_items(path).items()}
    return Entry(name, revision, tasks, units, items, facts)


def _task_folders(folder: Path) -> Iterator[Path]:
    yield from (path for path in sorted(folder.iterdir()) if (path / "scores.json").is_file())


def _drafts(entry: Entry, work: Path) -> dict[str, Path]:
    """task -> a folder with its scores alone. The model is called the same in all: its key tells of a store."""
    drafts = {}
    for task, scores in entry.tasks.items():
        draft = work / _quoted(task)
        draft.mkdir()
        write_scores(draft, [ModelScores(_KEY, {task: scores})])
        write_per_query(draft, {(_KEY, task): entry.units[task]} if task in entry.units else {})
        write_items(draft, {(_KEY, task): entry.items[task]} if task in entry.items else {})
        drafts[task] = draft
    return drafts


def _same(draft: Path, there: Path) -> bool:
    """Whether the scores are the same; files of another version of the libraries may differ in their bytes."""
    if digests(draft) == digests(there):
        return True
    if _alone(draft) != _alone(there) or read_per_query(draft) != read_per_query(there):
        return False
    ours, theirs = read_items(draft), read_items(there)
    return {k: _plain(v) for k, v in ours.items()} == {k: _plain(v) for k, v in theirs.items()}


def _alone(folder: Path) -> dict[str, TaskScores]:
    """Its scores without their groups: one task may be a part of another in one benchmark and not in the next."""
    tasks = {task: scores for model in read_scores(folder) for task, scores in model.tasks.items()}
    return {task: replace(scores, group="") for task, scores in tasks.items()}


def _plain(items: Items) -> tuple[list[str], list[float], list[float]]:
    return list(items.ids), items.predictions.tolist(), items.targets.tolist()


def _describe(path: Path, entry: Entry) -> None:
    """model.json. What is known already stays known."""
    said = {"name": entry.name, "revision": entry.revision, **asdict(entry.facts)}
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        clash = [k for k, v in said.items() if v is not None and before.get(k) is not None and before[k] != v]
        if clash:
            raise DataError(
                f"{path}: {clash[0]} is {before[clash[0]]!r}, that of this model {said[clash[0]]!r}; "
                "give another name or revision"
            )
        said = {key: value if value is not None else before.get(key) for key, value in said.items()}
    write_atomically(path, json.dumps(said, indent=1, ensure_ascii=False) + "\n")


def _quoted(name: str) -> str:
    """A name as one folder's name; none starts with a dot."""
    text = quote(name, safe=" @+,=:") if name else name
    return f"%2E{text[1:]}" if text.startswith(".") else text
