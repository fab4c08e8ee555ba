"""On-disk format of one model's result on one task.

A *task_scores* artifact is a folder with

    scores.json          {"metrics": {metric: mean}, "queries": n, "mteb": mteb's own scores, null where undefined}
    per_query.parquet    query_id, one column a metric
    run.parquet          query_id, doc_id, rank (from 1), score: the first documents of every query
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from embedkit.core.errors import ArtifactError
from embedkit.measures.ranking import Run, ranked

RUN_DEPTH = 100
_RUN = pa.schema([("query_id", pa.string()), ("doc_id", pa.string()), ("rank", pa.int32()), ("score", pa.float32())])


@dataclass(frozen=True)
class TaskResult:
    """What one model reached on one task."""

    per_query: Mapping[str, Mapping[str, float]]  # query_id -> metric -> value
    metrics: Mapping[str, float]  # metric -> mean
    mteb: Mapping[str, float | None]


def write_result(folder: Path, result: TaskResult, run: Run) -> None:
    """Write a task_scores artifact."""
    scores = {
        "metrics": dict(result.metrics),
        "queries": len(result.per_query),
        "mteb": dict(sorted(result.mteb.items())),
    }
    (folder / "scores.json").write_text(json.dumps(scores, indent=1, allow_nan=False), encoding="utf-8")
    per_query = [{"query_id": query, **values} for query, values in result.per_query.items()]
    schema = pa.schema([("query_id", pa.string()), *((metric, pa.float64()) for metric in result.metrics)])
    pq.write_table(pa.Table.from_pylist(per_query, schema=schema), folder / "per_query.parquet", compression="zstd")
    rows = [
        {"query_id": query, "doc_id": doc, "rank": rank, "score": documents[doc]}
        for query, documents in run.items()
        for rank, doc in enumerate(ranked(documents)[:RUN_DEPTH], start=1)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=_RUN), folder / "run.parquet", compression="zstd")


def read_result(folder: Path) -> TaskResult:
    """Read a task_scores artifact, without its run."""
    try:
        scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        rows = pq.read_table(folder / "per_query.parquet").to_pylist()
        return TaskResult({row.pop("query_id"): row for row in rows}, scores["metrics"], scores["mteb"])
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise ArtifactError(
            f"{folder}: its scores cannot be read ({error!r}). Delete the folder to remake it."
        ) from None
