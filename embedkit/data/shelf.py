"""Texts by id while a source is read: on disk, in the order they came; memory has ids and digests."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

import pyarrow as pa

from embedkit.core.columns import Strings

_AT_A_TIME: Final = 8192  # rows that are Python objects
_DIGEST: Final = 16  # bytes


class Shelf:
    """Rows of the named text columns, and of each its metadata and where it came from.

    Rows go to `path`, a file that this object owns. Columns read from it are memory-mapped.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        names = ("id", *columns, "metadata", "where")
        self.rejected: dict[str, str] = {}  # ids of rows that had one, but cannot be used -> where
        self.has_metadata = False
        self._schema = pa.schema([(name, pa.string()) for name in names])
        self._rows: dict[str, int] = {}
        self._digests = bytearray()
        self._held: list[tuple[str, ...]] = []
        self._path = path
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_stream(self._file, self._schema)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def put(self, key: str, texts: tuple[str, ...], where: str, metadata: str = "") -> None:
        """Add a row; its id must be new."""
        self._rows[key] = len(self._rows)
        self._digests += _digest(texts)
        self._held.append((key, *texts, metadata, where.encode(errors="backslashreplace").decode()))
        self.has_metadata |= bool(metadata)
        if len(self._held) == _AT_A_TIME:
            self._flush()

    def holds(self, key: str, texts: tuple[str, ...]) -> bool:
        """Whether the row of this id has exactly these texts."""
        start = self._rows[key] * _DIGEST
        return self._digests[start : start + _DIGEST] == _digest(texts)

    def where(self, key: str) -> str | None:
        """Where the row of this id came from, a rejected one's included; None if there was none."""
        if (row := self._rows.get(key)) is None:
            return self.rejected.get(key)
        written = len(self._rows) - len(self._held)
        return str(self._table().column("where")[row]) if row < written else self._held[row - written][-1]

    def columns(self) -> Mapping[str, Strings]:
        """The columns by name, `id` and `metadata` included, memory-mapped."""
        self._flush()
        table = self._table()
        return {name: Strings(table.column(name)) for name in self._schema.names}

    def _flush(self) -> None:
        if self._held:
            arrays = [pa.array(column, type=pa.string()) for column in zip(*self._held, strict=True)]
            self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
            self._held.clear()

    def _table(self) -> pa.Table:
        """What is written so far; the stream may go on."""
        if len(self._rows) == len(self._held):
            return self._schema.empty_table()
        return pa.ipc.open_stream(pa.memory_map(str(self._path))).read_all()


def _digest(texts: tuple[str, ...]) -> bytes:
    return blake2b("\0".join(texts).encode(), digest_size=_DIGEST).digest()
