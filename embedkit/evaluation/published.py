"""Results in mteb's files, of this machine or of the leaderboard's repository, for a leaderboard of one's own.

They hold no values by query, so nothing can be said of how certain they are.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedkit.core.entry import Entry, Facts
from embedkit.core.errors import DataError
from embedkit.core.scores import TaskScores
from embedkit.evaluation.containment import contained

if TYPE_CHECKING:
    from mteb.results import TaskResult


def holds_results(folder: Path) -> bool:
    """Whether mteb would find results in this folder: results/<model>/<revision>/<Task>.json."""
    return any(path.name != "model_meta.json" for path in (folder / "results").glob("*/*/*.json"))


def read(folder: Path) -> list[Entry]:
    """The models of a folder of mteb's results, by name and revision. Scores are those that mteb computed.

    A task of several subsets or splits is as many tasks of one group. Raises `DataError` for a file that mteb cannot
    load.
    """
    with contained():
        from mteb import ResultCache
        from mteb.results import TaskResult

        from embedkit.evaluation.harness import our_name

        paths = ResultCache(folder).get_cache_paths(require_model_meta=False, include_remote=False)
        models: dict[Path, dict[str, TaskScores]] = {}
        for path in sorted(paths):
            try:
                result = TaskResult.from_disk(path)
            except Exception as error:  # whatever mteb's readers of many versions run into
                raise DataError(f"{path}: mteb cannot load it ({error}); mend or remove it") from None
            kind, main = _about(result.task_name)
            models.setdefault(path.parent, {}).update(_tasks(result, kind, our_name(main)))
    return [_entry(where, tasks) for where, tasks in models.items()]


def _tasks(result: "TaskResult", kind: str, main: str) -> dict[str, TaskScores]:
    """Task or `task:part` -> its main score; undefined ones are left out."""
    scores = [(split, score) for split, rows in result.scores.items() for score in rows]
    several = {"subset": len({s["hf_subset"] for _, s in scores}) > 1, "split": len(result.scores) > 1}
    found = {}
    for split, score in scores:
        named = {"subset": str(score["hf_subset"]), "split": split}
        part = "/".join(named[of] for of in named if several[of])  # as the harness names parts
        value = score.get("main_score")
        if value is not None and math.isfinite(value):
            name, group = (f"{result.task_name}:{part}", result.task_name) if part else (result.task_name, "")
            found[name] = TaskScores(
                {main: float(value)}, 0, main, group, "other", type=kind, revision=result.dataset_revision
            )
    return found


def _about(task: str) -> tuple[str, str]:
    """Type and main metric of a task of mteb's, as far as this mteb knows it."""
    import mteb

    try:
        metadata = mteb.get_task(task).metadata
    except KeyError:
        return "", "main_score"
    return metadata.type, metadata.main_score


def _entry(folder: Path, tasks: Mapping[str, TaskScores]) -> Entry:
    path = folder / "model_meta.json"
    try:
        said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        name, revision = said.get("name"), said.get("revision")
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); mend or remove it") from None
    facts = Facts(*(_whole(said.get(key)) for key in ("n_parameters", "embed_dim", "max_tokens")))
    return Entry(str(name or folder.parent.name.replace("__", "/")), str(revision or folder.name), tasks, facts=facts)


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) and value > 0 else None
