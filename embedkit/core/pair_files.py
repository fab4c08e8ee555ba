"""Pairs larger than memory: read some rows at a time, written in parts that are joined at the end."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embedkit.core.columns import Rows, Strings
from embedkit.core.errors import ArtifactError, DataError
from embedkit.core.pairs import PAIRS, Pair, pairs_from
from embedkit.core.records import PERHAPS, present

TABLES: Final = ("pairs.parquet", "corpus.parquet", "queries.parquet")
GROUP: Final = 16_384  # rows of a row group, so that a file does not depend on the parts it was joined from


def check_folder(folder: Path, what: str) -> None:
    """Raise `DataError` unless the folder has the three tables of pairs; `what` they are, for a reader: "... are"."""
    missing = [name for name in TABLES if not (folder / name).is_file()]
    if missing:
        found = f"has no {missing[0]}" if folder.is_dir() else "is no folder"
        inside = sorted(p.parent for p in folder.glob("*/pairs.parquet")) if folder.is_dir() else []
        advice = f"; did you mean {inside[0]}?" if inside else f"; {what} a folder with {', '.join(TABLES)}"
        raise DataError(f"{folder}: {found}{advice}")


def pair_batches(folder: Path, *, rows: int = 4096) -> Iterator[list[Pair]]:
    """pairs.parquet of a pairs or dataset artifact, `rows` at a time. Raises `ArtifactError` if it cannot be read."""
    for batch in column_batches(folder, PAIRS.names, rows=rows):
        yield pairs_from({name: batch.column(name).to_pylist() for name in batch.schema.names})


def column_batches(folder: Path, names: Sequence[str], *, rows: int) -> Iterator[pa.RecordBatch]:
    """Those of the named columns of pairs.parquet that it has, `rows` rows at a time; errors as above."""
    path = folder / "pairs.parquet"
    try:
        source = pq.ParquetFile(path)
        found = present(path, source.schema_arrow.names, PAIRS)
        yield from source.iter_batches(batch_size=rows, columns=[name for name in found if name in names])
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}). Delete its folder to remake it.") from None


def pair_columns(columns: Mapping[str, pa.Array]) -> pa.Table:
    """A table with every column of pairs.parquet; those not given are empty lists."""
    n = len(columns["query_id"])
    nothing = _lists(pa.array([], type=pa.string()), np.zeros(n, dtype=np.int64))
    arrays = [columns.get(f.name, nothing).cast(f.type) for f in PAIRS]
    return pa.Table.from_arrays(arrays, schema=PAIRS)


def id_lists(ids: Sequence[str], rows: Rows, lengths: Rows) -> pa.Array:
    """Lists of the ids at `rows`, which stand one after the other; only distinct ones become Python strings."""
    distinct, place = np.unique(rows, return_inverse=True)
    found = ids.take(distinct) if isinstance(ids, Strings) else [ids[row] for row in distinct]
    return _lists(pa.array(found, type=pa.string()).take(pa.array(place, type=pa.int64())), lengths)


def number_lists(values: NDArray[Any], lengths: Rows) -> pa.Array:
    """Lists of numbers, which stand one after the other."""
    return _lists(pa.array(values), lengths)


def join_pairs(parts: Sequence[Path], out: Path) -> None:
    """Write pairs.parquet into `out` from part files made of `pair_columns`, in order; empty columns are left out."""
    names = [f.name for f in PAIRS if f.name not in PERHAPS or any(_filled(part, f.name) for part in parts)]
    join_tables(parts, out / "pairs.parquet", PAIRS, names, group=GROUP)


def join_tables(parts: Iterable[Path], path: Path, schema: pa.Schema, names: Sequence[str], *, group: int) -> None:
    """Write the named columns of Parquet files, one after the other, as one file with row groups of `group` rows."""
    kept = pa.schema([schema.field(name) for name in names])
    with pq.ParquetWriter(path, kept, compression="zstd") as writer:
        held: list[pa.RecordBatch] = []
        for batch in _batches(parts, list(names), group):
            held.append(batch)
            while sum(map(len, held)) >= group:
                table = pa.Table.from_batches(held, schema=kept)
                writer.write_table(table.slice(0, group).combine_chunks())
                held = table.slice(group).to_batches()
        if held:
            writer.write_table(pa.Table.from_batches(held, schema=kept).combine_chunks())


def _lists(values: pa.Array, lengths: Rows) -> pa.Array:
    return pa.ListArray.from_arrays(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32), values)


def _batches(parts: Iterable[Path], names: list[str], rows: int) -> Iterator[pa.RecordBatch]:
    for part in parts:
        yield from pq.ParquetFile(part).iter_batches(batch_size=rows, columns=names)


def _filled(part: Path, name: str) -> bool:
    """Whether any row has something in this column of lists."""
    for batch in pq.ParquetFile(part).iter_batches(columns=[name]):
        column = batch.column(0)
        if len(column.flatten() if pa.types.is_list(column.type) else column):
            return True
    return False
