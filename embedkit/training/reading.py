"""From ids to numbers: the rows of pairs as arrays, and the distinct texts they are about."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from embedkit.core.columns import Picked, Strings, places
from embedkit.core.errors import DataError
from embedkit.core.pair_files import column_batches
from embedkit.core.pairs import Pair
from embedkit.retrieval.distinct import distinct
from embedkit.training.lists import Lists, Places, number_type

_ROLES: Final = ("positives", "known", "negatives", "suspects")
_TARGETS: Final = {"positives": "positive_targets", "negatives": "negative_targets"}
_AT_A_TIME: Final = 1 << 16  # rows whose ids are in memory; more where the search for ids would be repeated too often
_SEARCHES: Final = 16


@dataclass(frozen=True, eq=False)
class Table:
    """Queries or documents by number: equal texts have equal numbers, in order of first appearance."""

    what: str
    ids: Sequence[str]
    texts: Sequence[str]  # the distinct ones
    numbers: Places  # by row of the table
    blank: NDArray[np.bool_]  # by number, whether there is nothing in the text
    classes: Sequence[str]

    @staticmethod
    def of(what: str, ids: Sequence[str], texts: Sequence[str], classes: Sequence[str]) -> "Table":
        """Read every text once, and keep none."""
        nothing = bytearray()

        def looked_at() -> Iterator[str]:
            for text in texts:
                nothing.append(not text.strip())
                yield text

        found = distinct(looked_at())
        blank = np.frombuffer(nothing, dtype=np.bool_)[found.rows]
        numbers = found.places.astype(number_type(len(texts)))
        return Table(what, ids, Picked(texts, found.rows), numbers, blank, classes)

    def __len__(self) -> int:
        return len(self.texts)

    def find(self, ids: pa.Array) -> Places:
        """The rows of these ids. A `DataError` if one is not there."""
        rows = places(self.ids, Strings(ids))
        if (missing := np.flatnonzero(rows < 0)).size:
            raise DataError(f"pairs: {self.what} {ids[int(missing[0])].as_py()!r} has no text")
        return rows


@dataclass(frozen=True, eq=False)
class Read:
    """R rows of pairs in numbers."""

    places: Places  # (R,) rows of the table of queries
    queries: Places  # (R,) numbers of texts
    lists: Mapping[str, Lists]  # by role: documents
    scores: Mapping[str, Lists]  # by role: target scores, where the role has as many as documents

    def __len__(self) -> int:
        return len(self.places)

    def take(self, rows: Places) -> "Read":
        """Some of the rows."""
        lists = {role: some.take(rows) for role, some in self.lists.items()}
        return Read(self.places[rows], self.queries[rows], lists, {r: s.take(rows) for r, s in self.scores.items()})

    def scored(self, role: str) -> NDArray[np.bool_]:
        """(R,) whether every document of the role has a finite target score."""
        documents, scores = self.lists[role], self.scores[role]
        broken = np.bincount(scores.owners[~np.isfinite(scores.values)], minlength=len(self))
        whole: NDArray[np.bool_] = (documents.lengths == scores.lengths) & (broken == 0)
        return whole

    def targets(self, role: str) -> NDArray[Any]:
        """The target score of every document of the role; 0 where it has none."""
        documents, scores = self.lists[role], self.scores[role]
        if np.array_equal(documents.offsets, scores.offsets):
            return scores.values
        found = np.zeros(len(documents.values), dtype=scores.values.dtype)
        if len(scores.values):
            there = documents.depths < np.repeat(scores.lengths, documents.lengths)
            found[there] = scores.values[(np.repeat(scores.offsets[:-1], documents.lengths) + documents.depths)[there]]
        return found

    def documents_by_query(
        self, roles: Iterable[str], *, queries: int, documents: int, but: Lists | None = None
    ) -> Lists:
        """By number of the query's text: the documents of these roles in all its rows but those in `but`, ascending."""
        keys = np.unique(np.concatenate([self.lists[role].keys(documents, self.queries) for role in roles]))
        keys = keys if but is None else keys[~but.has(keys, documents)]
        return Lists.of_keys(keys, lists=queries, width=documents)


def read_values(rows: Sequence[Pair], queries: Table, documents: Table) -> Read:
    """Rows that are in memory."""
    columns = {"query_id": pa.array([row.query_id for row in rows], type=pa.string())}
    for role in _ROLES:
        columns[role] = pa.array([list(getattr(row, role)) for row in rows], type=pa.list_(pa.string()))
    for name in _TARGETS.values():
        columns[name] = pa.array([list(getattr(row, name)) for row in rows], type=pa.list_(pa.float64()))
    return _read(pa.record_batch(columns), queries, documents)


def read_file(folder: Path, queries: Table, documents: Table) -> Read:
    """The rows of pairs.parquet, some at a time."""
    names = ["query_id", *_ROLES, *_TARGETS.values()]
    rows = max(_AT_A_TIME, len(queries.ids) // _SEARCHES)
    parts = [_read(batch, queries, documents) for batch in column_batches(folder, names, rows=rows)]
    return _joined(parts or [read_values((), queries, documents)])


def _read(batch: pa.RecordBatch, queries: Table, documents: Table) -> Read:
    own = queries.find(batch.column("query_id"))
    there = [role for role in _ROLES if role in batch.schema.names]
    ids = [batch.column(role).flatten() for role in there]
    found = np.split(
        documents.numbers[documents.find(pa.concat_arrays(ids))], np.cumsum([len(some) for some in ids])[:-1]
    )
    values = dict(zip(there, found, strict=True))
    nothing = np.empty(0, dtype=documents.numbers.dtype)
    return Read(
        own.astype(number_type(len(queries.ids))),
        queries.numbers[own],
        {role: _lists(batch, role, values.get(role, nothing)) for role in _ROLES},
        {role: _lists(batch, name, _numbers(batch, name)) for role, name in _TARGETS.items()},
    )


def _lists(batch: pa.RecordBatch, name: str, values: NDArray[Any]) -> Lists:
    """These values in lists as long as those of the column; empty ones where there is no such column."""
    if name not in batch.schema.names:
        return Lists.of_lengths(np.zeros(len(batch), dtype=np.int64), values)
    return Lists.of_lengths(np.asarray(pc.fill_null(pc.list_value_length(batch.column(name)), 0)), values)


def _numbers(batch: pa.RecordBatch, name: str) -> NDArray[Any]:
    """The numbers in a column of lists; NaN for null."""
    if name not in batch.schema.names:
        return np.empty(0, dtype=np.float32)
    found: NDArray[Any] = batch.column(name).flatten().to_numpy(zero_copy_only=False)
    return found.copy()  # so that the batch is not kept


def _joined(parts: Sequence[Read]) -> Read:
    return Read(
        np.concatenate([part.places for part in parts]),
        np.concatenate([part.queries for part in parts]),
        {role: Lists.joined([part.lists[role] for part in parts]) for role in _ROLES},
        {role: Lists.joined([part.scores[role] for part in parts]) for role in _TARGETS},
    )
