"""How much there is in a file, from a quick look: for estimates, before anything is read in earnest."""

import contextlib
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from embedkit.data.assemble import TableColumns
from embedkit.data.rows import BadRow, Rejects, arrow_batches, rows_of

_SAMPLE: Final = 1000  # rows
_CHARACTERS_A_TOKEN: Final = 4.0


def rows_in(path: Path) -> int:
    """Rows of a Parquet or Arrow file, 0 if it is damaged; or lines of a text file."""
    if path.suffix in (".parquet", ".arrow", ".feather"):
        try:
            if path.suffix == ".parquet":
                return int(pq.read_metadata(path).num_rows)
            return sum(map(len, arrow_batches(path)))
        except (OSError, pa.ArrowException):  # the run tells what is wrong with it
            return 0
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def queries_in(path: Path, columns: TableColumns) -> int:
    """Queries that a file of judgements judges."""
    found = set()
    for row in rows_of(path, path.name, Rejects()):
        with contextlib.suppress(BadRow):  # the run tells what is wrong with it
            found.add(row.values[columns.name(row.values, "judged_query")])
    return len(found)


def mean_tokens(path: Path, names: tuple[str, ...]) -> float:
    """Mean length of the first rows' texts under `names` together, in tokens of about four characters."""
    lengths = []
    for _, row in zip(range(_SAMPLE), rows_of(path, path.name, Rejects()), strict=False):
        cells = [row.values.get(name) or "" for name in names]
        lengths.append(sum(len(str(cell[0] if isinstance(cell, list) and cell else cell)) for cell in cells))
    return sum(lengths) / len(lengths) / _CHARACTERS_A_TOKEN if lengths else 0.0
