"""Runs mteb's own tasks on our models, and takes apart what they give.

Imports mteb; import it, and call it, within `contained`.
"""

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from traceback import format_exception
from typing import Any, Final
from uuid import uuid4

import datasets
import mteb
import pyarrow as pa
from mteb.abstasks import AbsTask, AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata

from embedkit.core.columns import Strings
from embedkit.core.dataset import Dataset
from embedkit.core.errors import EmbedkitError, StageError
from embedkit.core.records import Qrels
from embedkit.core.scores import Items, Statistic
from embedkit.evaluation.model import Search, StoredModel
from embedkit.evaluation.results import Part, TaskResult
from embedkit.evaluation.units import items_of, units_of
from embedkit.measures.ranking import FAMILIES, mean_scores, per_query

TASK_NAME: Final = "LocalRetrieval"
TOLERANCE: Final = 1e-4  # mteb rounds to five digits
_CHECKED: Final = ("ndcg@10", "map@100", "recall@100", "mrr@10", "precision@10")
_VOLATILE: Final = ("evaluation_time", "evaluation_phases", "kg_co2_emissions", "date")


class DatasetTask(AbsTaskRetrieval):
    """mteb's retrieval task over one split of a dataset. `revision` says which dataset it is."""

    def __init__(self, dataset: Dataset, split: str, revision: str) -> None:
        self.metadata = TaskMetadata(
            name=TASK_NAME,
            description="Judged queries of a local dataset, searched in its whole corpus.",
            type="Retrieval",
            main_score="ndcg_at_10",
            eval_langs=["eng-Latn"],  # mteb demands one; nothing here depends on it
            eval_splits=[split],
            dataset={"path": "local/dataset", "revision": revision},
        )
        super().__init__()
        qrels, corpus = dataset.qrels[split], dataset.corpus
        judged = [(q, text) for q, text in zip(dataset.queries.ids, dataset.queries.texts, strict=True) if q in qrels]
        self.dataset = {
            "default": {
                split: {
                    "corpus": _table(id=corpus.ids, title=corpus.titles, text=corpus.texts),
                    "queries": _table(id=[q for q, _ in judged], text=[text for _, text in judged]),
                    "relevant_docs": {query: dict(docs) for query, docs in qrels.items()},
                    "top_ranked": None,
                }
            }
        }
        self.data_loaded = True

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
        """Nothing to do: the data came with the constructor."""


def evaluate(model: StoredModel, task: AbsTask, work: Path) -> TaskResult:
    """What the model reaches on the task: mteb's scores, and query by query, or item by item, what they are made of.

    `work` is for mteb to write predictions into. Raises `StageError` if mteb fails, if a score is undefined, or if the
    metrics of a run of ours are not those that mteb found.
    """
    try:
        result = _evaluated(model, task, work / "predictions")
    except (EmbedkitError, MemoryError):
        raise
    except Exception as error:  # tasks fail in as many ways as their authors wrote them
        said = " ".join(str(error).split())[:300]
        name = task.metadata.name
        trace = work / "traceback.txt"
        trace.write_text("".join(format_exception(error)), encoding="utf-8")
        raise StageError(f"mteb's task {name} failed: {type(error).__name__}: {said} ({trace})") from error
    for part in result.parts:
        if part.mteb.get("main_score") is None:
            where = f" on {part.name}" if part.name else ""
            raise StageError(
                f"{result.main} is undefined{where}: what the model says, or what is true, is the same throughout"
            )
    return result


def _evaluated(model: StoredModel, task: AbsTask, predictions: Path) -> TaskResult:
    shutil.rmtree(predictions, ignore_errors=True)  # mteb would add to what an interrupted run left
    retrieves = isinstance(task, AbsTaskRetrieval)
    task.load_data()
    found = mteb.evaluate(
        model,
        task,
        cache=None,
        co2_tracker=False,
        prediction_folder=None if retrieves else predictions,
        show_progress_bar=False,
    ).task_results[0]
    said = _predictions(predictions / task.prediction_file_name)
    parts = [
        _part(model, task, name, scores, split, said)
        for split, name, scores in _named({split: list(rows) for split, rows in found.scores.items()})
    ]
    if retrieves:
        for part in parts:
            check_agreement(mean_scores(per_query(part.run, part.qrels, _CHECKED)), part.mteb)
    main = our_name(task.metadata.main_score)
    return TaskResult(
        task.metadata.name,
        task.metadata.type,
        main,
        _statistic(main, parts),
        task.metadata.revision,
        {name: _plain(value) for name, value in found.to_dict().items() if name not in _VOLATILE},
        parts,
    )


def our_name(metric: str) -> str:
    """`ndcg_at_10` as `ndcg@10`; other names as they are."""
    family, _, cutoff = metric.rpartition("_at_")
    return f"{family}@{cutoff}" if family in FAMILIES and cutoff.isdecimal() else metric


def check_agreement(metrics: Mapping[str, float], scores: Mapping[str, float | None]) -> None:
    """Raise a `StageError` unless our means are mteb's, for every metric both have."""
    for metric, value in metrics.items():
        theirs = scores.get(metric.replace("@", "_at_"))
        if theirs is not None and not abs(value - theirs) < TOLERANCE:
            raise StageError(
                f"evaluation: {metric} is {value:.6f} from per-query scores but {theirs:.6f} by mteb; "
                "they must agree, so neither is reported. Please report this as a bug."
            )


def _part(
    model: StoredModel, task: AbsTask, name: str, scores: Mapping[str, Any], split: str, said: Mapping[str, Any]
) -> Part:
    subset = str(scores["hf_subset"])
    plain = {
        metric: None if math.isnan(value) else float(value)
        for metric, value in sorted(scores.items())
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    search = model.searches.get((subset, split))
    if search is not None:
        return Part(name, subset, split, plain, **_retrieved(search, _data(task, subset, split)["relevant_docs"]))
    metric, answers = task.metadata.main_score, said.get(subset, {}).get(split)
    items = items_of(task, metric, _data(task, subset, split), answers)
    if items is not None:
        return Part(name, subset, split, plain, items=Items(*items))
    return Part(name, subset, split, plain, units=units_of(task, scores, _data(task, subset, split), answers))


def _retrieved(search: Search, relevant: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    asked = set(search.query_ids)  # some sets judge queries that they do not have, which mteb leaves out
    qrels: Qrels = {
        query: {doc: int(grade) for doc, grade in docs.items()} for query, docs in relevant.items() if query in asked
    }
    judged: dict[str, dict[str, float]] = {}
    pairs, _, scores = search.pairs(qrels)
    for (query, doc), score in zip(pairs, scores.tolist(), strict=True):
        judged.setdefault(query, {})[doc] = score
    texts = dict(zip(search.query_ids, search.query_texts, strict=True))
    return {"run": search.run, "qrels": qrels, "judged": judged, "texts": texts}


def _data(task: AbsTask, subset: str, split: str) -> Any:
    whole: Any = task.dataset
    return whole[subset][split] if subset in whole else whole[split]


def _named(scores: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Every part's split, name and scores; a name tells only what differs between the parts."""
    subsets = {str(row["hf_subset"]) for rows in scores.values() for row in rows}
    for split, rows in scores.items():
        for row in rows:
            words = ([str(row["hf_subset"])] if len(subsets) > 1 else []) + ([split] if len(scores) > 1 else [])
            yield split, "/".join(words), row


def _statistic(main: str, parts: Sequence[Part]) -> Statistic:
    """What the main metric is of what the parts hold."""
    if all(part.items is not None for part in parts):
        ends: dict[str, Statistic] = {"spearman": "spearman", "pearson": "pearson", "ap": "average_precision"}
        return next((statistic for end, statistic in ends.items() if main.endswith(end)), "other")
    known = all(part.run or any(main in values for values in part.units.values()) for part in parts)
    ranks = "@" in main or any(part.units for part in parts)
    return "mean" if known and ranks else "other"


def _predictions(path: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _plain(value: Any) -> Any:
    """The same for JSON, null where a score is undefined."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _table(**columns: Sequence[str]) -> datasets.Dataset:
    """A data set of these columns; those that are mapped stay where they are."""
    arrays = {
        name: values.column if isinstance(values, Strings) else pa.array(list(values), type=pa.string())
        for name, values in columns.items()
    }
    return datasets.Dataset(
        pa.table(arrays), fingerprint=uuid4().hex
    )  # its own would be a digest of a copy of all rows
