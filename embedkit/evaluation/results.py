"""On-disk format of one model's result on one task, before any metric of ours is computed from it.

A *task_scores* artifact is a folder with

    result.json        {"task", "type", "main", "statistic", "revision", "official": mteb's TaskResult without times,
                       "parts": [{"name", "subset", "split", "mteb": {score: value, null where undefined}}]}
    run.parquet        part, query_id, doc_id, rank (from 1), score: the first 1000 documents of every query
    qrels.parquet      part, query_id, doc_id, relevance
    judged.parquet     the same pairs and their score by the model, retrieved or not
    queries.parquet    part, query_id, text
    units.parquet      part, unit_id and one column a metric: texts of a classification, experiments of a clustering
    items.parquet      part, item_id, prediction, target: of tasks whose score is a statistic of all items together

A part is one subset and split of the task; the only one is named "". Files without rows are left out.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from embedkit.core.errors import ArtifactError
from embedkit.core.records import Qrels
from embedkit.core.scores import Items, PerQuery, Statistic
from embedkit.measures.ranking import ranked

RUN_DEPTH: Final = 1000  # what mteb searches
_AT_A_TIME: Final = 1 << 16  # rows
_QUERIES: Final = 64  # whose documents are written at a time
_QUERY = [("part", pa.string()), ("query_id", pa.string())]
_DOC = [*_QUERY, ("doc_id", pa.string())]
_SCHEMAS: Final = {
    "run": pa.schema([*_DOC, ("rank", pa.int32()), ("score", pa.float32())]),
    "qrels": pa.schema([*_DOC, ("relevance", pa.int32())]),
    "judged": pa.schema([*_DOC, ("relevance", pa.int32()), ("score", pa.float32())]),
    "queries": pa.schema([*_QUERY, ("text", pa.string())]),
    "items": pa.schema(
        [("part", pa.string()), ("item_id", pa.string()), ("prediction", pa.float64()), ("target", pa.float64())]
    ),
}


@dataclass(frozen=True)
class Part:
    """What a model reached on one subset and split of a task."""

    name: str
    subset: str
    split: str
    mteb: Mapping[str, float | None]  # mteb's own scores
    run: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # query_id -> doc_id -> score, as retrieved
    qrels: Qrels = field(default_factory=dict)
    judged: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # query_id -> doc_id -> score
    texts: Mapping[str, str] = field(default_factory=dict)  # query_id -> text
    units: PerQuery = field(default_factory=dict)  # unit_id -> metric -> value
    items: Items | None = None


class KeptRun(Mapping[str, Mapping[str, float]]):
    """A part's run as it lies in run.parquet: a query's documents are read when they are asked for, with those of the
    queries beside it."""

    def __init__(self, folder: Path, part: str) -> None:
        path = folder / "run.parquet"
        self._file = pq.ParquetFile(path) if path.is_file() else None
        self._groups: dict[str, int] = {}  # query_id -> row group
        self._part, self._open, self._held = part, -1, dict[str, dict[str, float]]()
        for group in range(self._file.num_row_groups if self._file else 0):
            rows = self._read(group, ["query_id"])
            self._groups.update(dict.fromkeys(rows["query_id"].unique().to_pylist(), group))

    def __getitem__(self, query: str) -> Mapping[str, float]:
        group = self._groups[query]
        if group != self._open:
            rows = self._read(group, ["query_id", "doc_id", "score"])
            held: dict[str, dict[str, float]] = {}
            for asked, doc, score in zip(*(rows[name].to_pylist() for name in rows.column_names), strict=True):
                held.setdefault(asked, {})[doc] = score
            self._open, self._held = group, held
        return self._held[query]

    def __iter__(self) -> Iterator[str]:
        return iter(self._groups)

    def __len__(self) -> int:
        return len(self._groups)

    def _read(self, group: int, columns: list[str]) -> pa.Table:
        assert self._file is not None
        table = self._file.read_row_group(group, columns=["part", *columns])
        return table.filter(pc.equal(table["part"], self._part)).select(columns)


@dataclass(frozen=True)
class TaskResult:
    """What a model reached on a task."""

    task: str
    type: str  # as mteb names it: Retrieval, STS ...
    main: str  # the metric that models are compared by: ndcg@10, cosine_spearman ...
    statistic: Statistic
    revision: str  # of the data
    official: Mapping[str, Any]
    parts: Sequence[Part]


def write_result(folder: Path, result: TaskResult) -> None:
    """Write a task_scores artifact."""
    names = ("task", "type", "main", "statistic", "revision", "official")
    facts = {name: getattr(result, name) for name in names}
    facts["parts"] = [{n: getattr(part, n) for n in ("name", "subset", "split", "mteb")} for part in result.parts]
    (folder / "result.json").write_text(json.dumps(facts, indent=1, allow_nan=False), encoding="utf-8")
    _write_runs(folder, result.parts)
    _write(folder, "qrels", (row[:4] for part in result.parts for row in _judgements(part)))
    _write(folder, "judged", (row for part in result.parts if part.judged for row in _judgements(part)))
    _write(folder, "queries", ((p.name, query, text) for p in result.parts for query, text in p.texts.items()))
    _write(folder, "items", (row for part in result.parts for row in _items(part)))
    units = [{"part": p.name, "unit_id": unit, **values} for p in result.parts for unit, values in p.units.items()]
    if units:
        metrics = list(dict.fromkeys(name for row in units for name in row if name not in ("part", "unit_id")))
        schema = pa.schema([("part", pa.string()), ("unit_id", pa.string()), *((m, pa.float64()) for m in metrics)])
        pq.write_table(pa.Table.from_pylist(units, schema=schema), folder / "units.parquet", compression="zstd")


def read_result(folder: Path) -> TaskResult:
    """Read a task_scores artifact. Raises `ArtifactError` if it cannot be read."""
    try:
        facts = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        parts = [_part(entry, folder) for entry in facts.pop("parts")]
        return TaskResult(**facts, parts=parts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        raise ArtifactError(
            f"{folder}: its result cannot be read ({error!r}). Delete the folder to remake it."
        ) from None


def _part(entry: Mapping[str, Any], folder: Path) -> Part:
    name = entry["name"]
    qrels, judged = Qrels(), dict[str, dict[str, float]]()
    for query, doc, relevance in _rows(folder, "qrels", name, ("query_id", "doc_id", "relevance")):
        qrels.setdefault(query, {})[doc] = relevance
    for query, doc, score in _rows(folder, "judged", name, ("query_id", "doc_id", "score")):
        judged.setdefault(query, {})[doc] = score
    items = list(_rows(folder, "items", name, ("item_id", "prediction", "target")))
    ids, predictions, targets = zip(*items, strict=True) if items else ((), (), ())
    return Part(
        **entry,
        run=KeptRun(folder, name),
        qrels=qrels,
        judged=judged,
        texts=dict(_rows(folder, "queries", name, ("query_id", "text"))),
        units=_units(folder, name),
        items=Items(ids, np.array(predictions), np.array(targets)) if items else None,
    )


def _units(folder: Path, part: str) -> PerQuery:
    path = folder / "units.parquet"
    rows = pq.read_table(path, filters=[("part", "=", part)]).to_pylist() if path.is_file() else []
    named = {row.pop("unit_id"): row for row in rows}
    return {unit: {k: v for k, v in row.items() if k != "part" and v is not None} for unit, row in named.items()}


def _rows(folder: Path, name: str, part: str, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """These columns of a part's rows; few are in memory at a time."""
    path = folder / f"{name}.parquet"
    if path.is_file():
        for batch in pq.ParquetFile(path).iter_batches(_AT_A_TIME, columns=["part", *columns]):
            kept = batch.filter(pc.equal(batch["part"], part))
            yield from zip(*(kept[column].to_pylist() for column in columns), strict=True)


def _write_runs(folder: Path, parts: Sequence[Part]) -> None:
    """run.parquet, some queries at a time."""
    ranking = ((part.name, query, run) for part in parts for query, run in part.run.items())
    some = list(islice(ranking, _QUERIES))
    if not some:
        return
    schema = _SCHEMAS["run"]
    with pq.ParquetWriter(folder / "run.parquet", schema, compression="zstd") as writer:
        while some:
            orders = [ranked(run)[:RUN_DEPTH] for _, _, run in some]
            counts = [len(order) for order in orders]
            columns = (
                np.repeat(np.array([part for part, _, _ in some], dtype=object), counts),
                np.repeat(np.array([query for _, query, _ in some], dtype=object), counts),
                [doc for order in orders for doc in order],
                np.concatenate([np.arange(1, count + 1, dtype=np.int32) for count in counts]),
                [run[doc] for (_, _, run), order in zip(some, orders, strict=True) for doc in order],
            )
            arrays = [pa.array(column, type=f.type) for column, f in zip(columns, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            some = list(islice(ranking, _QUERIES))


def _judgements(part: Part) -> Iterator[tuple[Any, ...]]:
    for query, documents in part.qrels.items():
        for doc, relevance in documents.items():
            yield part.name, query, doc, relevance, part.judged.get(query, {}).get(doc)


def _items(part: Part) -> Iterator[tuple[Any, ...]]:
    if part.items is not None:
        values = part.items.predictions.tolist(), part.items.targets.tolist()
        yield from ((part.name, *row) for row in zip(part.items.ids, *values, strict=True))


def _write(folder: Path, name: str, rows: Iterator[tuple[Any, ...]]) -> None:
    some = list(islice(rows, _AT_A_TIME))
    if not some:
        return
    schema = _SCHEMAS[name]
    with pq.ParquetWriter(folder / f"{name}.parquet", schema, compression="zstd") as writer:
        while some:
            columns = zip(*some, strict=True)
            arrays = [pa.array(column, type=f.type) for column, f in zip(columns, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            some = list(islice(rows, _AT_A_TIME))
