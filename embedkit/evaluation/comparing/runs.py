"""A TREC run that was made elsewhere as a system to compare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from embedkit.core.errors import DataError
from embedkit.core.records import Qrels
from embedkit.core.scores import TaskScores
from embedkit.evaluation.comparing.systems import Reached, System
from embedkit.evaluation.trec import read_qrels, read_run
from embedkit.measures.ranking import mean_scores, per_query

DEFAULT_METRICS: Final = ("ndcg@10", "mrr@10", "recall@100", "map@100")


@dataclass(frozen=True)
class Judged:
    """What runs are scored on: judgements, what to call them as a task, and the queries' texts where they are known."""

    qrels: Qrels
    task: str
    texts: Mapping[str, str]


def judged(qrels: Path, task: str = "", texts: Mapping[str, str] | None = None) -> Judged:
    """The judgements of a file. The task is called as the BEIR folder they are in, or as the file, unless `task`."""
    folder = qrels.resolve().parent
    name = folder.parent.name if folder.name == "qrels" else bare(qrels)
    if folder.name == "qrels" and bare(qrels) != "test":
        name = f"{name}:{bare(qrels)}"
    return Judged(read_qrels(qrels), task or name, texts or {})


def read_run_system(
    path: Path, about: Judged, metrics: Sequence[str], *, ignore_identical_ids: bool = False
) -> tuple[System, list[str]]:
    """A run file as a system that is called as the file, and notes of what is odd about it.

    A judged query that the run lacks scores 0, queries without judgements are left out: as `trec_eval -c` has it.
    Raises `DataError` if none of its queries is judged.
    """
    found = read_run(path, ignore_identical_ids=ignore_identical_ids)
    known, queries = about.qrels.keys(), found.run.keys()
    if not known & queries:
        raise DataError(
            f"{path}: none of its {len(queries):,} queries is judged: the first is {next(iter(queries))!r}, of the "
            f"judgements {next(iter(known))!r}"
        )
    notes = list(found.notes)
    if missing := len(known - queries):
        notes.append(f"{path}: {missing:,} of {len(known):,} judged queries are not in the run; they score 0")
    if strange := len(queries - known):
        notes.append(f"{path}: {strange:,} of {len(queries):,} queries of the run are not judged; they are left out")
    values = per_query(found.run, about.qrels, metrics)
    means = mean_scores(values)
    scores = TaskScores({m: means[m] for m in metrics}, len(values), main=metrics[0])
    name = bare(path)
    return System(name, {about.task: Reached(scores, values)}, {about.task: about.texts}, name), notes


def bare(path: Path) -> str:
    """A file's name without its suffix, nor .gz."""
    return Path(path.name.removesuffix(".gz")).stem
