"""Table files written a few rows at a time, by suffix. A file is there whole or not at all."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

Put = Callable[[Sequence[tuple[Any, ...]]], None]


@contextmanager
def writing(path: Path, schema: pa.Schema, work: Path) -> Iterator[Put]:
    """Gives `put(rows)`. The draft in `work` takes the place of `path` when the block ends without an error.

    Each `put` makes a row group, or record batch: the same calls give the same bytes.
    """
    draft = work / f"{path.name}.draft"
    with _WRITERS[path.suffix](draft, schema) as put:
        yield put
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(path)


@contextmanager
def _parquet(draft: Path, schema: pa.Schema) -> Iterator[Put]:
    with pq.ParquetWriter(draft, schema, compression="zstd") as writer:
        yield lambda rows: writer.write_table(_table(rows, schema))


@contextmanager
def _arrow(draft: Path, schema: pa.Schema) -> Iterator[Put]:
    # a stream, not a file with a footer: `datasets.Dataset.from_file` maps only streams
    with pa.OSFile(str(draft), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        yield lambda rows: writer.write_table(_table(rows, schema))


@contextmanager
def _jsonl(draft: Path, schema: pa.Schema) -> Iterator[Put]:
    with draft.open("w", encoding="utf-8", newline="\n") as file:
        yield lambda rows: file.writelines(_line(schema.names, row) for row in rows)


def _table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True)
    return pa.Table.from_arrays([pa.array(c, type=f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)


def _line(names: Sequence[str], row: tuple[Any, ...]) -> str:
    return json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False, allow_nan=False) + "\n"


_WRITERS: Final[Mapping[str, Callable[[Path, pa.Schema], AbstractContextManager[Put]]]] = {
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".jsonl": _jsonl,
}
