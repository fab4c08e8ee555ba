"""On-disk format of scores: what every model reached on every task, as means and query by query.

A *scores* artifact is a folder with

    scores.json          {"models": [{"key": model key, "tasks": {task: {"metrics": {metric: mean}, "queries": n}}}]}
    per_query.parquet    model (its key), task, query_id, and one column a metric, e.g. ndcg@10

Models are in the order the recipe lists them, named by key: an artifact knows no stage names.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from embedkit.core.errors import ArtifactError

PerQuery = Mapping[str, Mapping[str, float]]  # query_id -> metric -> value


@dataclass(frozen=True)
class TaskScores:
    """What one model reached on one task."""

    metrics: Mapping[str, float]  # metric -> mean over the queries
    queries: int


@dataclass(frozen=True)
class ModelScores:
    """What one model reached on every task."""

    key: str
    tasks: Mapping[str, TaskScores]


def write_scores(folder: Path, models: Sequence[ModelScores]) -> None:
    """Write scores.json."""
    rows = [
        {"key": m.key, "tasks": {t: {"metrics": dict(s.metrics), "queries": s.queries} for t, s in m.tasks.items()}}
        for m in models
    ]
    (folder / "scores.json").write_text(json.dumps({"models": rows}, indent=1, allow_nan=False), encoding="utf-8")


def read_scores(folder: Path) -> list[ModelScores]:
    """Read scores.json."""
    path = folder / "scores.json"
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["models"]
        return [
            ModelScores(r["key"], {t: TaskScores(s["metrics"], s["queries"]) for t, s in r["tasks"].items()})
            for r in rows
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error!r}). Delete its folder to remake it.") from None


def write_per_query(folder: Path, values: Mapping[tuple[str, str], PerQuery]) -> None:
    """Write per_query.parquet from (model key, task) -> query_id -> metric -> value, in that order."""
    rows = [
        {"model": model, "task": task, "query_id": query, **metrics}
        for (model, task), queries in values.items()
        for query, metrics in queries.items()
    ]
    names = list(dict.fromkeys(name for row in rows for name in row if name not in ("model", "task", "query_id")))
    schema = pa.schema(
        [(name, pa.string()) for name in ("model", "task", "query_id")] + [(name, pa.float64()) for name in names]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "per_query.parquet", compression="zstd")


def read_per_query(folder: Path) -> dict[tuple[str, str], dict[str, dict[str, float]]]:
    """Read per_query.parquet: (model key, task) -> query_id -> metric -> value, in the order of the file."""
    path = folder / "per_query.parquet"
    try:
        rows = pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}). Delete its folder to remake it.") from None
    values: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for row in rows:
        model, task, query = row.pop("model"), row.pop("task"), row.pop("query_id")
        values.setdefault((model, task), {})[query] = row
    return values
