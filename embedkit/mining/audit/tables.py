"""The files of a mined set, some rows at a time, as flat arrays: no Python object a candidate."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embedkit.core.columns import Strings
from embedkit.core.errors import ArtifactError
from embedkit.core.pairs import PAIRS
from embedkit.core.records import present
from embedkit.core.text import document_text
from embedkit.mining.fates import CANDIDATES

_PAIRS: Final = 16_384  # queries in memory at a time
_CANDIDATES: Final = 1 << 17
_TEXTS: Final = 4096

Doubles = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Lists:
    """One list for each of n queries, one after the other."""

    values: pa.Array
    lengths: Rows  # (n,)

    def queries(self) -> Rows:
        """Which of the n queries each value belongs to."""
        return np.repeat(np.arange(len(self.lengths), dtype=np.int64), self.lengths)

    def numbers(self) -> Doubles:
        """The values as floating-point numbers."""
        return np.asarray(self.values.to_numpy(zero_copy_only=False), dtype=np.float64)

    def of(self, query: int) -> list[Any]:
        """The list of one query."""
        start = int(self.lengths[:query].sum())
        found: list[Any] = self.values.slice(start, int(self.lengths[query])).to_pylist()
        return found


@dataclass(frozen=True)
class PairBlock:
    """Some queries of pairs.parquet."""

    first: int  # row of the first of them
    query_ids: pa.Array
    lists: Mapping[str, Lists]  # by column

    def __len__(self) -> int:
        return len(self.query_ids)

    def scores(self, side: str) -> Doubles:
        """The miner's score of every `positive` or `negative`; NaN where a query has none for each."""
        documents, scores = self.lists[f"{side}s"], self.lists[f"{side}_scores"]
        if np.array_equal(documents.lengths, scores.lengths):
            return scores.numbers()
        found = np.full(len(documents.values), np.nan)
        whole = documents.lengths == scores.lengths
        found[np.repeat(whole, documents.lengths)] = scores.numbers()[np.repeat(whole, scores.lengths)]
        return found

    def ranks(self) -> Rows:
        """The rank of every negative, 0 where it has none."""
        documents, ranks = self.lists["negatives"], self.lists["negative_ranks"]
        if not np.array_equal(documents.lengths, ranks.lengths):
            return np.zeros(len(documents.values), dtype=np.int64)
        return np.asarray(ranks.values.to_numpy(zero_copy_only=False), dtype=np.int64)


@dataclass(frozen=True)
class CandidateBlock:
    """Some rows of candidates.parquet."""

    reasons: NDArray[np.int64]  # (n,) places in `names`
    names: Sequence[str]  # of reasons, in the order first seen in the file
    scores: Doubles
    ranks: Rows  # 0 for documents that were never eligible

    def of(self, *names: str) -> NDArray[np.bool_]:
        """(n,) whether the reason is one of these."""
        found: NDArray[np.bool_] = np.isin(self.reasons, [i for i, name in enumerate(self.names) if name in names])
        return found


def pair_blocks(folder: Path) -> Iterator[PairBlock]:
    """pairs.parquet. Raises `ArtifactError` if it cannot be read."""
    path, first = folder / "pairs.parquet", 0
    names = present(path, schema(path).names, PAIRS)
    for batch in _batches(path, _PAIRS, names):
        empty = Lists(pa.nulls(0), np.zeros(len(batch), dtype=np.int64))
        lists = {name: _lists(batch.column(name)) if name in names else empty for name in PAIRS.names[1:]}
        yield PairBlock(first, batch.column("query_id"), lists)
        first += len(batch)


def candidate_blocks(folder: Path) -> Iterator[CandidateBlock]:
    """candidates.parquet; nothing if there is none."""
    path, codes = folder / CANDIDATES, dict[str, int]()
    if not path.is_file():
        return
    for batch in _batches(path, _CANDIDATES, ["rank", "score", "reason"], dictionaries=["reason"]):
        reason = batch.column("reason")
        own = [codes.setdefault(name, len(codes)) for name in reason.dictionary.to_pylist()]
        places = np.asarray(own, dtype=np.int64)[reason.indices.to_numpy(zero_copy_only=False)]
        score, rank = (batch.column(name).to_numpy(zero_copy_only=False) for name in ("score", "rank"))
        yield CandidateBlock(places, tuple(codes), score.astype(np.float64), rank.astype(np.int64))


def document_ids(folder: Path) -> Strings:
    """The ids in corpus.parquet."""
    return Strings(_column(folder / "corpus.parquet", "doc_id"))


def texts(folder: Path, table: str) -> Iterator[tuple[list[str], list[str]]]:
    """Ids and texts of corpus.parquet ("corpus"; title and text joined) or queries.parquet ("queries"), in order."""
    if table == "queries":
        for batch in _batches(folder / "queries.parquet", _TEXTS, ["query_id", "text"]):
            yield batch.column("query_id").to_pylist(), batch.column("text").to_pylist()
    else:
        for batch in _batches(folder / "corpus.parquet", _TEXTS, ["doc_id", "title", "text"]):
            titles, bodies = batch.column("title").to_pylist(), batch.column("text").to_pylist()
            yield batch.column("doc_id").to_pylist(), list(map(document_text, titles, bodies))


def texts_of(folder: Path, table: str, ids: Sequence[str]) -> dict[str, str]:
    """The texts with these ids; those that are not there are left out."""
    name = "query_id" if table == "queries" else "doc_id"
    columns = [name, "text"] if table == "queries" else [name, "title", "text"]
    wanted, found = pa.array(sorted(set(ids)), type=pa.string()), dict[str, str]()
    for batch in _batches(folder / f"{table}.parquet", _CANDIDATES // 8, columns):
        for row in batch.filter(pc.is_in(batch.column(name), value_set=wanted)).to_pylist():
            found[row[name]] = row["text"] if table == "queries" else document_text(row["title"], row["text"])
    return found


def schema(path: Path) -> pa.Schema:
    """The columns of a Parquet file. Raises `ArtifactError` if it cannot be read."""
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(f"{path}: cannot be read ({error})") from None


def _batches(
    path: Path, rows: int, columns: Sequence[str], *, dictionaries: Sequence[str] = ()
) -> Iterator[pa.RecordBatch]:
    if missing := [name for name in columns if name not in schema(path).names]:
        raise ArtifactError(f"{path}: has no column {missing[0]!r}; it has {schema(path).names}")
    try:
        source = pq.ParquetFile(path, read_dictionary=list(dictionaries))
        yield from source.iter_batches(batch_size=rows, columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(f"{path}: cannot be read ({error})") from None


def _column(path: Path, name: str) -> pa.ChunkedArray:
    batches = list(_batches(path, 1 << 16, [name]))
    return pa.chunked_array([batch.column(0) for batch in batches], type=pa.string())


def _lists(column: pa.ListArray) -> Lists:
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    return Lists(column.flatten(), lengths.astype(np.int64))
