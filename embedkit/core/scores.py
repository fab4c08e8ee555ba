"""On-disk format of scores: what every model reached on every task, as means and query by query.

A *scores* artifact is a folder with

    scores.json          {"models": [{"key": model key, "tasks": {task: {"metrics": {metric: value}, "queries": n,
                         "main", "group", "statistic", "type", "revision"}}}]}
    per_query.parquet    model (its key), task, query_id, and one column a metric, e.g. ndcg@10; null where a task has
                         no such metric. What is scored one by one may be texts or experiments instead of queries
    items.parquet        model, task, item_id, prediction, target: of tasks whose score is a statistic of all items
                         together, like Spearman's correlation; absent where there are none
    queries.parquet      task, query_id, text, where texts are known

Models are in the order the recipe lists them, named by key: an artifact knows no stage names. A task that is made of
several subsets or splits appears as several tasks of one `group`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embedkit.core.errors import ArtifactError

PerQuery = Mapping[str, Mapping[str, float]]  # query_id -> metric -> value
Statistic = Literal["mean", "spearman", "pearson", "average_precision", "other"]
"""What a task's main metric is of its queries or items; `other`: something that neither of them tells."""

_IDS = [(name, pa.string()) for name in ("model", "task")]
_ITEMS = pa.schema([*_IDS, ("item_id", pa.string()), ("prediction", pa.float64()), ("target", pa.float64())])
_TEXTS = pa.schema([(name, pa.string()) for name in ("task", "query_id", "text")])


@dataclass(frozen=True)
class TaskScores:
    """What one model reached on one task."""

    metrics: Mapping[str, float]  # metric -> mean over the queries, or statistic of the items
    queries: int  # or items, or experiments
    main: str = ""  # the metric that models are compared by; "": the first
    group: str = ""  # the task that this is a subset or split of; "": itself
    statistic: Statistic = "mean"  # what the main metric is
    type: str = "Retrieval"
    revision: str = ""  # of the data

    @property
    def main_metric(self) -> str:
        """The metric that models are compared by."""
        return self.main or next(iter(self.metrics))


@dataclass(frozen=True)
class ModelScores:
    """What one model reached on every task."""

    key: str
    tasks: Mapping[str, TaskScores]


@dataclass(frozen=True)
class Items:
    """What a model said of n items, and what is true."""

    ids: Sequence[str]
    predictions: NDArray[np.float64]  # (n,)
    targets: NDArray[np.float64]  # (n,)


def write_scores(folder: Path, models: Sequence[ModelScores]) -> None:
    """Write scores.json."""
    rows = [{"key": m.key, "tasks": {task: asdict(scores) for task, scores in m.tasks.items()}} for m in models]
    (folder / "scores.json").write_text(json.dumps({"models": rows}, indent=1, allow_nan=False), encoding="utf-8")


def read_scores(folder: Path) -> list[ModelScores]:
    """Read scores.json."""
    path = folder / "scores.json"
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["models"]
        return [ModelScores(r["key"], {t: TaskScores(**s) for t, s in r["tasks"].items()}) for r in rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error!r}). Delete its folder to remake it.") from None


def write_per_query(folder: Path, values: Mapping[tuple[str, str], PerQuery]) -> None:
    """Write per_query.parquet from (model key, task) -> query_id -> metric -> value, in that order."""
    rows = [
        {"model": model, "task": task, "query_id": query, **metrics}
        for (model, task), queries in values.items()
        for query, metrics in queries.items()
    ]
    names = list(dict.fromkeys(name for row in rows for name in row if name not in ("model", "task", "query_id")))
    schema = pa.schema([*_IDS, ("query_id", pa.string()), *((name, pa.float64()) for name in names)])
    _write(folder / "per_query.parquet", rows, schema)


def read_per_query(folder: Path) -> dict[tuple[str, str], dict[str, dict[str, float]]]:
    """Read per_query.parquet: (model key, task) -> query_id -> metric -> value, in the order of the file."""
    values: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for row in _read(folder / "per_query.parquet").to_pylist():
        model, task, query = row.pop("model"), row.pop("task"), row.pop("query_id")
        found = {metric: value for metric, value in row.items() if value is not None}
        values.setdefault((model, task), {})[query] = found
    return values


def write_items(folder: Path, items: Mapping[tuple[str, str], Items]) -> None:
    """Write items.parquet from (model key, task) -> items; nothing if there are none."""
    rows = [
        {"model": model, "task": task, "item_id": id_, "prediction": prediction, "target": target}
        for (model, task), one in items.items()
        for id_, prediction, target in zip(one.ids, one.predictions.tolist(), one.targets.tolist(), strict=True)
    ]
    if rows:
        _write(folder / "items.parquet", rows, _ITEMS)


def read_items(folder: Path) -> dict[tuple[str, str], Items]:
    """Read items.parquet: (model key, task) -> items in the order of the file; empty if there is no such file."""
    if not (folder / "items.parquet").is_file():
        return {}
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in _read(folder / "items.parquet").to_pylist():
        groups.setdefault((row["model"], row["task"]), []).append(row)
    return {
        key: Items(
            [row["item_id"] for row in rows],
            np.array([row["prediction"] for row in rows]),
            np.array([row["target"] for row in rows]),
        )
        for key, rows in groups.items()
    }


def write_texts(folder: Path, texts: Mapping[str, Mapping[str, str]]) -> None:
    """Write queries.parquet from task -> query_id -> text; nothing if there are none."""
    rows = [{"task": task, "query_id": q, "text": text} for task, found in texts.items() for q, text in found.items()]
    if rows:
        _write(folder / "queries.parquet", rows, _TEXTS)


def read_texts(folder: Path) -> dict[str, dict[str, str]]:
    """Read queries.parquet: task -> query_id -> text; empty if there is no such file."""
    texts: dict[str, dict[str, str]] = {}
    if (folder / "queries.parquet").is_file():
        for row in _read(folder / "queries.parquet").to_pylist():
            texts.setdefault(row["task"], {})[row["query_id"]] = row["text"]
    return texts


def _write(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path, compression="zstd")


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}). Delete its folder to remake it.") from None
