"""Results as files that mteb loads and that the leaderboard's repository of results takes.

    <folder>/results/<org>__<name>/<revision>/<Task>.json       mteb's TaskResult
                                              model_meta.json   mteb's ModelMeta
                                              run_settings.jsonl  versions a task was evaluated with

Several runs may share the folder: tasks, subsets and splits are added, and a score that is there already is never
replaced by another one.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from filelock import FileLock

from embedkit.core.errors import ArtifactError, DataError, RecipeError
from embedkit.core.store import MANIFEST, read_manifest, write_atomically
from embedkit.evaluation.containment import contained
from embedkit.evaluation.origin import About

if TYPE_CHECKING:
    from mteb.results import TaskResult

_NAME: Final = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_REVISION: Final = re.compile(r"[\w-][\w.-]*")
_META, _SETTINGS, _LOCK = "model_meta.json", "run_settings.jsonl", ".lock"


@dataclass
class Submission:
    """What became of the results of one model."""

    folder: Path
    written: list[str] = field(default_factory=list)  # tasks
    kept: list[str] = field(default_factory=list)  # tasks whose scores were there already
    left_out: dict[str, str] = field(default_factory=dict)  # task -> why the leaderboard would not take it
    partial: dict[str, str] = field(default_factory=dict)  # task -> what of it was not evaluated


def write(
    results: Mapping[str, Path], model: Path, to: Path, *, name: str, revision: str, about: About | None = None
) -> Submission:
    """Write the results of the model in folder `model`, `task_scores` folders by task, below `to`.

    `name` is that of the hub ("org/model"), `revision` a commit or a hash of the weights. What is not an official task
    on its official data is left out, and told. Nothing is written if a score would replace another one, or if no result
    is official: `DataError`. Raises `RecipeError` for a name that cannot be one.
    """
    if not _NAME.fullmatch(name):
        raise RecipeError(f"model name {name!r}: expected 'organisation/model', as on the hub")
    if not _REVISION.fullmatch(revision):
        raise RecipeError(f"revision {revision!r}: expected a commit or a hash, without slashes")
    folder = to / "results" / name.replace("/", "__") / revision
    found = Submission(folder)
    with contained():
        from embedkit.evaluation.meta import meta_json, model_meta

        fresh = {task.task_name: task for task in _official(results, found)}
        if not fresh:
            raise DataError(*(f"{task}: not for the leaderboard: {why}" for task, why in found.left_out.items()))
        meta = meta_json(model_meta(model, about or About(), name=name, revision=revision))
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(to / _LOCK):
            texts = _merged(fresh, found)
            texts |= {_META: _meta(folder / _META, meta), _SETTINGS: _settings(folder / _SETTINGS, fresh, results)}
            for file, text in texts.items():
                write_atomically(folder / file, text)
    return found


def _official(results: Mapping[str, Path], found: Submission) -> Iterator["TaskResult"]:
    """The results that are of official tasks on their official data; tells of the others."""
    import mteb
    from mteb.results import TaskResult

    for name, folder in sorted(results.items()):
        facts = _facts(folder)
        try:
            task = mteb.get_task(facts["task"])
        except KeyError:
            found.left_out[name] = "no task of mteb's has this name"
            continue
        result = TaskResult.model_validate({**facts["official"], "evaluation_time": _made(folder).get("seconds")})
        expected = task.metadata.revision
        if wrong := {facts["revision"], result.dataset_revision} - {expected}:
            found.left_out[name] = f"its data is of revision {min(wrong)!r}; the official one is {expected!r}"
        elif any(score["main_score"] is None for scores in result.scores.values() for score in scores):
            found.left_out[name] = "its main score is undefined"
        else:
            if missing := result.get_missing_evaluations(task):
                told = (f"{split} of {', '.join(sorted(subsets))}" for split, subsets in missing.items())
                found.partial[name] = f"not evaluated: {'; '.join(told)}"
            yield result


def _merged(fresh: Mapping[str, "TaskResult"], found: Submission) -> dict[str, str]:
    """File -> its text, of the results that add something to what the folder has. Raises `DataError`, a line each, if
    one has another score."""
    from mteb.results import TaskResult

    problems, texts = [], {}
    for name, result in fresh.items():
        path, new = found.folder / f"{name}.json", _rounded(result)
        if not path.is_file():
            texts[path.name] = new
            found.written.append(name)
            continue
        old = TaskResult.from_disk(path)
        before, after = _scores(old), _scores(TaskResult.model_validate_json(new))
        clash = sorted(where for where in before.keys() & after.keys() if before[where] != after[where])
        if old.dataset_revision != result.dataset_revision:
            problems.append(
                f"{path}: is of data revision {old.dataset_revision!r}, this of {result.dataset_revision!r}"
            )
        elif clash:
            split, subset = clash[0]
            problems.append(
                f"{path}: has another result for {split} of {subset}: {_main(old, *clash[0])}, this is "
                f"{_main(result, *clash[0])}; results are never replaced: remove the file or give another revision"
            )
        elif after.keys() <= before.keys():
            found.kept.append(name)
        else:
            texts[path.name] = _rounded(old.merge(result))
            found.written.append(name)
    if problems:
        raise DataError(*problems)
    return texts


def _meta(path: Path, meta: Mapping[str, Any]) -> str:
    """model_meta.json: what the file says goes before what we know, unless it describes another model."""
    from embedkit.evaluation.meta import IDENTIFYING

    if not path.is_file():
        return _json(meta)
    try:
        old = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); mend or remove it") from None
    for key in IDENTIFYING:
        if old.get(key) is not None and meta[key] is not None and old[key] != _plain(meta[key]):
            raise DataError(
                f"{path}: describes another model: {key} is {old[key]!r}, that of this one {_plain(meta[key])!r}; "
                "give another name or revision"
            )
    return _json({**meta, **{key: value for key, value in old.items() if value is not None}})


def _settings(path: Path, fresh: Mapping[str, "TaskResult"], results: Mapping[str, Path]) -> str:
    """run_settings.jsonl, a line a task: lines of tasks that are there already stay."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    told = {str(json.loads(line)["task"]): line for line in lines if line.strip()}
    folders = {_facts(folder)["task"]: folder for folder in results.values()}
    for name, result in fresh.items():
        subsets = sorted({score["hf_subset"] for scores in result.scores.values() for score in scores})
        versions = _made(folders[name]).get("versions", {})
        row = {"task": name, "splits": sorted(result.scores), "version": {**versions, "mteb": result.mteb_version}}
        told.setdefault(name, json.dumps({**row, "encode_kwargs": {}, "subsets": subsets}))
    return "".join(f"{line}\n" for _, line in sorted(told.items()))


def _facts(folder: Path) -> dict[str, Any]:
    """result.json of a task_scores folder."""
    path = folder / "result.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error!r}). Delete its folder to remake it.") from None


def _made(folder: Path) -> Mapping[str, Any]:
    """How the result was made, if its folder is an artifact: seconds, versions."""
    return read_manifest(folder).made if (folder / MANIFEST).is_file() else {}


def _scores(result: "TaskResult") -> dict[tuple[str, str], str]:
    """(split, subset) -> every score, as text: NaN equals itself there."""
    ignored = ("mteb_version", "languages")
    return {
        (split, score["hf_subset"]): json.dumps({k: v for k, v in score.items() if k not in ignored}, sort_keys=True)
        for split, scores in result.scores.items()
        for score in scores
    }


def _main(result: "TaskResult", split: str, subset: str) -> str:
    score = next(s for s in result.scores[split] if s["hf_subset"] == subset)
    return f"{score['main_score']:.6f}"


def _rounded(result: "TaskResult") -> str:
    """The text that mteb itself would write: it rounds to six decimals."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        result.to_disk(path)
        return path.read_text(encoding="utf-8")


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=4, default=_plain, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    """An enumeration's value, as JSON has it; anything else as text."""
    return getattr(value, "value", value if isinstance(value, str | int | float) else str(value))
