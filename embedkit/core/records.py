"""On-disk formats: corpus, queries, qrels, pairs. All are Parquet, keyed by ids, and written the same byte for byte.

A *dataset* is a folder with

    corpus.parquet           doc_id, title, text, and perhaps class and metadata
    queries.parquet          query_id, text, and perhaps class and metadata
    qrels/<split>.parquet    query_id, doc_id, relevance      (split: train, dev, test)

*Pairs* are a folder with corpus.parquet and queries.parquet as above, and

    pairs.parquet            query_id, positives [doc_id], known [doc_id], negatives [doc_id], and per entry of
                             `negatives` negative_scores, per entry of `positives` positive_scores, and
                             positive_targets / negative_targets (teacher or gold scores), where a stage has made
                             them; and perhaps suspects [doc_id], per entry of `negatives` negative_ranks, and fills
                             [doc_id], those of the negatives that a fill policy put there (rank 0; a repeated one
                             stands in `negatives` again)

`known` has every document known to be relevant to the query: none may ever serve as its negative, nor may `suspects`,
which a false-negative filter took for relevant. A dataset is pairs as well: one row for each query of its train split.
Columns that are perhaps there are left out where nothing is in them; `metadata` is a JSON object with a source's other
fields. Corpora, queries and qrels are read and written here, datasets in `embedkit.core.dataset`, pairs in
`embedkit.core.pairs`, and pairs that are larger than memory in `embedkit.core.pair_files`.
"""

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embedkit.core.columns import Documents, Picked, Rows, Strings, mapped
from embedkit.core.errors import ArtifactError

SPLITS: Final = ("train", "dev", "test")
Qrels = dict[str, dict[str, int]]  # query_id -> doc_id -> relevance

PERHAPS: Final = ("class", "metadata", "suspects", "negative_ranks", "fills")  # columns left out where they are empty
_GROUP: Final = 1 << 16  # rows of a row group, and so the most that are in memory while a file is written
_CORPUS = pa.schema([(name, pa.string()) for name in ("doc_id", "title", "text", "class", "metadata")])
_QUERIES = pa.schema([(name, pa.string()) for name in ("query_id", "text", "class", "metadata")])
_QRELS = pa.schema([("query_id", pa.string()), ("doc_id", pa.string()), ("relevance", pa.int32())])


@dataclass(frozen=True)
class Corpus:
    """Documents in a fixed order."""

    ids: Sequence[str]
    titles: Sequence[str]
    texts: Sequence[str]
    classes: Sequence[str] = ()  # "" for a document without one; empty where none has one
    metadata: Sequence[str] = ()  # a JSON object each, "" for a document without; empty where none has any

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int] | Rows) -> "Corpus":
        """The documents of these rows."""
        columns = (self.ids, self.titles, self.texts, self.classes, self.metadata)
        return Corpus(*(_taken(column, rows) for column in columns))

    def full_texts(self) -> list[str]:
        """What an encoder is given for each document: title and text, a space between."""
        return list(self.documents())

    def documents(self) -> Documents:
        """The same, joined only when asked for."""
        return Documents(self.titles, self.texts)


@dataclass(frozen=True)
class Queries:
    """Queries in a fixed order."""

    ids: Sequence[str]
    texts: Sequence[str]
    classes: Sequence[str] = ()  # as of a corpus
    metadata: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int] | Rows) -> "Queries":
        """The queries of these rows."""
        return Queries(*(_taken(column, rows) for column in (self.ids, self.texts, self.classes, self.metadata)))


def write_corpus(folder: Path, corpus: Corpus) -> None:
    """Write corpus.parquet."""
    columns = [corpus.ids, corpus.titles, corpus.texts, corpus.classes, corpus.metadata]
    write_table(folder / "corpus.parquet", _CORPUS, columns)


def read_corpus(folder: Path) -> Corpus:
    """Read corpus.parquet."""
    columns = read_table(folder / "corpus.parquet", _CORPUS)
    return Corpus(*(columns[name] for name in _CORPUS.names))


def open_corpus(folder: Path, work: Path) -> Corpus:
    """The same, memory-mapped from a copy in `work`: for corpora larger than memory."""
    return Corpus(*_open(folder / "corpus.parquet", _CORPUS, work))


def write_queries(folder: Path, queries: Queries) -> None:
    """Write queries.parquet."""
    write_table(folder / "queries.parquet", _QUERIES, [queries.ids, queries.texts, queries.classes, queries.metadata])


def read_queries(folder: Path) -> Queries:
    """Read queries.parquet."""
    columns = read_table(folder / "queries.parquet", _QUERIES)
    return Queries(*(columns[name] for name in _QUERIES.names))


def open_queries(folder: Path, work: Path) -> Queries:
    """The same, memory-mapped from a copy in `work`."""
    return Queries(*_open(folder / "queries.parquet", _QUERIES, work))


def write_qrels(folder: Path, split: str, qrels: Qrels) -> None:
    """Write qrels/<split>.parquet, in the order of the mapping."""
    rows = [(query, doc, relevance) for query, docs in qrels.items() for doc, relevance in docs.items()]
    (folder / "qrels").mkdir(exist_ok=True)
    write_table(folder / "qrels" / f"{split}.parquet", _QRELS, [[row[i] for row in rows] for i in range(3)])


def read_qrels(folder: Path, split: str) -> Qrels:
    """Read qrels/<split>.parquet; empty if the dataset has no such split."""
    path = folder / "qrels" / f"{split}.parquet"
    qrels: Qrels = {}
    if path.is_file():
        columns = read_table(path, _QRELS)
        for query, doc, relevance in zip(columns["query_id"], columns["doc_id"], columns["relevance"], strict=True):
            qrels.setdefault(query, {})[doc] = relevance
    return qrels


def link_tables(source: Path, out: Path, names: Iterable[str] = ("corpus.parquet", "queries.parquet")) -> None:
    """Give `out` the named files of a finished artifact without copying bytes, where the file system can."""
    for name in names:
        try:
            os.link(source / name, out / name)
        except OSError:
            shutil.copyfile(source / name, out / name)


def _taken(column: Sequence[str], rows: Sequence[int] | Rows) -> Sequence[str]:
    return Picked(column, np.asarray(rows, dtype=np.int64)) if column else ()


def write_table(path: Path, schema: pa.Schema, columns: Sequence[Any]) -> None:
    """Write columns in the order of the schema; of those in `PERHAPS`, the ones in which something is."""
    kept = [(f, column) for f, column in zip(schema, columns, strict=True) if f.name not in PERHAPS or any(column)]
    schema = pa.schema([f for f, _ in kept])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, max(len(columns[0]), 1), _GROUP):  # a table of no rows has a group of none
            arrays = [_array(column[start : start + _GROUP], f.type) for f, column in kept]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    return values.column if isinstance(values, Strings) else pa.array(list(values), type=kind)


def _open(path: Path, schema: pa.Schema, work: Path) -> list[Sequence[str]]:
    try:
        table = mapped(path, work)
    except pa.ArrowException as error:
        raise ArtifactError(f"{path}: cannot be read ({error}). Delete its folder to remake it.") from None
    found = present(path, table.column_names, schema)
    return [Strings(table.column(name)) if name in found else () for name in schema.names]


def present(path: Path, columns: Sequence[str], schema: pa.Schema) -> list[str]:
    """Names of the schema's columns that a file has. Raises `ArtifactError` if one is missing that must be there."""
    found = [name for name in schema.names if name in columns]
    if missing := [name for name in schema.names if name not in found and name not in PERHAPS]:
        raise ArtifactError(f"{path}: has no column {missing[0]!r}; it has {list(columns)}")
    return found


def read_table(path: Path, schema: pa.Schema) -> dict[str, Sequence[Any]]:
    """The schema's columns as Python values; empty those that the file may lack and does."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}). Delete its folder to remake it.") from None
    found = present(path, table.column_names, schema)
    return {name: table.column(name).to_pylist() if name in found else () for name in schema.names}
