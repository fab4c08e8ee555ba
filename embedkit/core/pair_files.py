"""Pairs larger than memory: read some rows at a time, written in parts that are joined at the end."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from embedkit.core.errors import ArtifactError
from embedkit.core.records import PAIRS, PERHAPS, Pair, pairs_from, present

GROUP: Final = 16_384  # rows of a row group, so that a file does not depend on the parts it was joined from


def pair_batches(folder: Path, *, rows: int = 4096) -> Iterator[list[Pair]]:
    """pairs.parquet of a pairs or dataset artifact, `rows` at a time. Raises `ArtifactError` if it cannot be read."""
    path = folder / "pairs.parquet"
    try:
        source = pq.ParquetFile(path)
        names = present(path, source.schema_arrow.names, PAIRS)
        for batch in source.iter_batches(batch_size=rows, columns=names):
            yield pairs_from({name: batch.column(name).to_pylist() for name in names})
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}). Delete its folder to remake it.") from None


def pair_table(rows: Sequence[Pair]) -> pa.Table:
    """Rows as a table with every column of pairs.parquet."""
    columns = [pa.array([getattr(row, f.name) for row in rows], type=f.type) for f in PAIRS]
    return pa.Table.from_arrays(columns, schema=PAIRS)


def join_pairs(parts: Sequence[Path], out: Path) -> None:
    """Write pairs.parquet into `out` from part files made of `pair_table`s, in order; empty columns are left out."""
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
