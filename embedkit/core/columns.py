"""Columns of text that stay where Arrow has them: in a memory-mapped file, if they are large."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock
from numpy.typing import NDArray

from embedkit.core.store import sha256, write_atomically
from embedkit.core.text import document_text

Rows = NDArray[np.int64]
_AT_A_TIME: Final = 4096  # strings that are Python objects at a time


class Strings(Sequence[str]):
    """n strings of an Arrow column. An entry becomes a Python string when it is asked for; slices copy nothing."""

    def __init__(self, column: pa.ChunkedArray | pa.Array) -> None:
        self.column = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])

    def __len__(self) -> int:
        return len(self.column)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> "Strings": ...
    def __getitem__(self, row: int | slice) -> "str | Strings":
        if isinstance(row, slice):
            start, stop, step = row.indices(len(self))
            if step != 1:
                return Strings(pa.array([self[i] for i in range(start, stop, step)], type=pa.string()))
            return Strings(self.column.slice(start, max(0, stop - start)))
        text: str = self.column[int(row)].as_py()
        return text

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _AT_A_TIME):
            yield from self.column.slice(start, _AT_A_TIME).to_pylist()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def take(self, rows: Rows) -> list[str]:
        """The strings of these rows. A chunk of the column is looked into once; none is copied."""
        rows = np.asarray(rows, dtype=np.int64)
        found = np.empty(len(rows), dtype=object)
        order = np.argsort(rows, kind="stable")
        ends = np.searchsorted(rows[order], np.cumsum([len(chunk) for chunk in self.column.chunks]))
        start = first = 0
        for chunk, end in zip(self.column.chunks, ends.tolist(), strict=True):
            if end > start:
                some = order[start:end]
                found[some] = chunk.take(pa.array(rows[some] - first)).to_pylist()
            start, first = end, first + len(chunk)
        if start < len(rows):
            raise IndexError(f"row {int(rows[order[start]])} of {len(self)}")
        return found.tolist()


class Picked(Sequence[str]):
    """Some rows of a column, in any order. Copies nothing: an entry is looked up when it is asked for."""

    def __init__(self, column: Sequence[str], rows: Rows) -> None:
        self.column, self.rows = column, np.asarray(rows, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> "Picked": ...
    def __getitem__(self, row: int | slice) -> "str | Picked":
        return Picked(self.column, self.rows[row]) if isinstance(row, slice) else self.column[int(self.rows[row])]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _AT_A_TIME):
            rows = self.rows[start : start + _AT_A_TIME]
            low, high = int(rows.min()), int(rows.max()) + 1
            if high - low <= 4 * _AT_A_TIME:  # rows that lie together are read together
                near = list(self.column[low:high])
                yield from (near[row - low] for row in rows.tolist())
            else:
                yield from (self.column[row] for row in rows.tolist())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


class Documents(Sequence[str]):
    """What an encoder is given of n documents: title and text, a space between. Joined when asked for."""

    def __init__(self, titles: Sequence[str], texts: Sequence[str]) -> None:
        self.titles, self.texts = titles, texts

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> "Documents": ...
    def __getitem__(self, row: int | slice) -> "str | Documents":
        if isinstance(row, slice):
            return Documents(self.titles[row], self.texts[row])
        return document_text(self.titles[row], self.texts[row])

    def __iter__(self) -> Iterator[str]:
        return map(document_text, self.titles, self.texts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


def taken(column: Sequence[str], rows: Rows) -> list[str]:
    """The entries of these rows, looked up together where the column can."""
    if isinstance(column, Strings):
        return column.take(rows)
    if isinstance(column, Picked):
        return taken(column.column, column.rows[rows])
    if isinstance(column, Documents):
        return list(map(document_text, taken(column.titles, rows), taken(column.texts, rows)))
    return [column[row] for row in rows.tolist()]


def places(ids: Sequence[str], wanted: Sequence[str]) -> Rows:
    """Where in `ids` each of `wanted` stands; -1 for those not there. Makes no Python string of the others."""
    known = _arrow(ids)
    found = pc.index_in(_arrow(wanted), value_set=known)
    return np.asarray(pc.fill_null(found, -1).combine_chunks(), dtype=np.int64)


def mapped(parquet: Path, work: Path) -> pa.Table:
    """The table of a Parquet file as memory-mapped Arrow: a copy in `work`, written row group by row group, and again
    only if it is not what was written. Of several processes that ask for it, on whatever machines, one writes it."""
    path, seal = work / f"{parquet.stem}.arrow", work / f"{parquet.stem}.arrow.sha256"
    with FileLock(work / f".{path.name}.lock"):
        if not (path.is_file() and seal.is_file() and seal.read_text(encoding="utf-8") == sha256(path)):
            _copy(parquet, path)
            write_atomically(seal, sha256(path))
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _copy(parquet: Path, path: Path) -> None:
    source, draft = pq.ParquetFile(parquet), path.with_name(f".{path.name}.tmp")
    with draft.open("wb") as file:
        with pa.ipc.new_file(file, source.schema_arrow) as writer:
            for batch in source.iter_batches(batch_size=_AT_A_TIME):
                writer.write_batch(batch)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)  # not in place: another process may still read what was there


def _arrow(strings: Sequence[str]) -> pa.ChunkedArray:
    return strings.column if isinstance(strings, Strings) else pa.chunked_array([pa.array(strings, type=pa.string())])
