"""Where a model's results on tasks are, from what a user names: a run folder, a scores folder, or one result."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from embedkit.core.errors import ArtifactError, DataError, did_you_mean
from embedkit.core.store import MANIFEST, read_manifest

_PROVENANCE: Final = "provenance.json"
_PART: Final = "parts."  # of an `evaluate` stage's inputs: parts.MODEL/TASK


@dataclass(frozen=True)
class Result:
    """A task_scores folder."""

    model: str
    task: str
    folder: Path


def results(word: str) -> list[Result]:
    """The results of `FOLDER` or `FOLDER:MODEL`: a run folder, a folder of scores, or a task_scores folder.

    Raises `DataError` if it is none of these or lacks the model, `ArtifactError` if a result has gone.
    """
    folder, _, model = ("", "", "") if Path(word).exists() else word.rpartition(":")
    place = Path(folder or word)
    if not place.is_dir():
        raise DataError(f"{word}: no such folder; expected a run folder, or one of scores")
    found = list(_found(place))
    if not found:
        raise DataError(
            f"{place}: holds no scores; expected a run folder with an evaluate stage, or a folder of scores"
        )
    if model:
        names = list(dict.fromkeys(one.model for one in found))
        if model not in names:
            raise DataError(f"{place}: has no model {model!r}; it has {', '.join(names)}{did_you_mean(model, names)}")
        found = [one for one in found if one.model == model]
    return found


def _found(place: Path) -> Iterator[Result]:
    if (place / _PROVENANCE).is_file():
        for name in _evaluations(place):
            yield from _of_scores(place / name)
    elif (place / "result.json").is_file():
        name = place.resolve().name
        yield Result(name[:12] if re.fullmatch("[0-9a-f]{64}", name) else name, _task(place), place)
    elif (place / "scores.json").is_file():
        yield from _of_scores(place)


def _evaluations(run: Path) -> list[str]:
    """The stages of a run that evaluated models."""
    path = run / _PROVENANCE
    try:
        stages = json.loads(path.read_text(encoding="utf-8"))["stages"]
        return [name for name, stage in stages.items() if stage["kind"] == "evaluate"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error!r}); run the recipe again to remake it") from None


def _of_scores(scores: Path) -> Iterator[Result]:
    """The parts that scores were gathered from: they stand beside them in the store."""
    if not (scores / MANIFEST).is_file():
        raise DataError(f"{scores}: is no artifact of a store, so the runs behind its scores are not to be found")
    beside = scores.resolve().parent
    for where, key in read_manifest(scores).inputs.items():
        if where.startswith(_PART):
            model, _, task = where.removeprefix(_PART).rpartition("/")  # a model may be a round: NAME/1
            if not (beside / key / "result.json").is_file():
                raise ArtifactError(f"{beside / key}: the result of {model} on {task} is gone; run the recipe again")
            yield Result(model, task, beside / key)


def _task(folder: Path) -> str:
    try:
        return str(json.loads((folder / "result.json").read_text(encoding="utf-8"))["task"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / 'result.json'}: cannot be read ({error!r})") from None
