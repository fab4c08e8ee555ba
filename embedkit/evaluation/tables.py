"""Columns of the tables that tasks are made of: CSV, TSV, JSONL and Parquet, checked cell by cell."""

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from embedkit.core.errors import DataError, did_you_mean, first_few

Cell = Callable[[Any], Any]  # a cell as found -> as wanted; a `ValueError` says what would have been right
Columns = Mapping[str, Sequence[Any]]
_SHOWN: Final = 60  # characters of a bad cell


def read_columns(path: Path, wanted: Mapping[str, Cell], *, optional: Mapping[str, Cell] | None = None) -> Columns:
    """The named columns of a table, each cell checked and converted; `optional` ones only if the table has them.

    CSV is quoted as RFC 4180 has it, TSV not at all; cells of both are texts. Raises `DataError`, a line a problem,
    with file, row (counted from 1, the header left out) and what was found and wanted.
    """
    rows = _Rows(path)
    names = [*wanted, *(name for name in optional or {} if name in rows.names)]
    if missing := [name for name in wanted if name not in rows.names]:
        hint = did_you_mean(missing[0], rows.names)
        raise DataError(f"{path}: has no column {missing[0]!r}; it has {rows.names}{hint}")
    if twice := [name for name in names if rows.names.count(name) > 1]:
        raise DataError(f"{path}: has several columns {twice[0]!r}; expected one")
    if not len(rows):
        raise DataError(f"{path}: has no rows")
    problems: list[str] = []
    cells = {**wanted, **(optional or {})}
    columns = {name: list(_checked(rows, name, cells[name], problems)) for name in names}
    if problems:
        raise DataError(*first_few(problems))
    return columns


def text(cell: Any) -> str:
    """A text that is not blank."""
    if isinstance(cell, str) and cell.strip():
        return cell
    raise ValueError("expected a text")


def string(cell: Any) -> str:
    """A text, perhaps an empty one; nothing counts as that."""
    if cell is None or isinstance(cell, str):
        return cell or ""
    raise ValueError("expected a text")


def identifier(cell: Any) -> str:
    """A string or a whole number, as a string."""
    if isinstance(cell, str | int) and not isinstance(cell, bool) and str(cell).strip():
        return str(cell)
    raise ValueError("expected an id")


def whole(cell: Any) -> int:
    """A whole number, however it is written."""
    value = number(cell)
    if not value.is_integer():
        raise ValueError("expected a whole number")
    return int(value)


def number(cell: Any) -> float:
    """A finite number."""
    try:
        value = float(cell) if isinstance(cell, str | int | float) and not isinstance(cell, bool) else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError("expected a number")
    return value


def between(low: float, high: float) -> Cell:
    """A number from `low` to `high`."""

    def check(cell: Any) -> float:
        with contextlib.suppress(ValueError):
            if low <= (value := number(cell)) <= high:
                return value
        raise ValueError(f"expected a number from {low:g} to {high:g}")

    return check


def label(cell: Any) -> str:
    """The name of a class: a text, a whole number, or true or false."""
    if isinstance(cell, bool | int) or (isinstance(cell, str) and cell.strip()):
        return str(cell)
    raise ValueError("expected a label")


def binary(cell: Any) -> int:
    """0 or 1."""
    known = {"0": 0, "1": 1, "false": 0, "true": 1, "0.0": 0, "1.0": 1}
    if (value := known.get(str(cell).strip().lower())) is None:
        raise ValueError("expected 0 or 1")
    return value


def texts(cell: Any) -> list[str]:
    """A list of texts; one text stands for a list of it, nothing for an empty one."""
    values = [] if cell is None else [cell] if isinstance(cell, str) else cell
    if not isinstance(values, list):
        raise ValueError("expected a list of texts")
    return [text(value) for value in values]


def identifiers(cell: Any) -> list[str]:
    """A list of ids."""
    if not isinstance(cell, list):
        raise ValueError("expected a list of ids")
    return [identifier(value) for value in cell]


def wholes(cell: Any) -> list[int]:
    """A list of whole numbers."""
    if not isinstance(cell, list):
        raise ValueError("expected a list of whole numbers")
    return [whole(value) for value in cell]


def _checked(rows: "_Rows", name: str, cell: Cell, problems: list[str]) -> Iterator[Any]:
    for number_of, found in enumerate(rows.column(name), start=1):
        try:
            yield cell(found)
        except ValueError as error:
            shown = repr(found) if len(repr(found)) <= _SHOWN else f"{repr(found)[:_SHOWN]}..."
            problems.append(f"{rows.path} row {number_of}: {name} is {shown}; {error}")


class _Rows:
    """A table of any of the formats."""

    def __init__(self, path: Path) -> None:
        self.path = path
        reader = _READERS.get(path.suffix)
        if reader is None:
            raise DataError(f"{path}: not a table that is read; expected a file that ends in {', '.join(_READERS)}")
        if not path.is_file():
            raise DataError(f"{path}: no such file; expected a table")
        try:
            self._table = reader(path)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise DataError(f"{path}: not a readable {path.suffix} table ({str(error).splitlines()[0]})") from None

    def __len__(self) -> int:
        return len(self._table) if isinstance(self._table, list) else int(self._table.num_rows)

    @property
    def names(self) -> list[str]:
        """Names of its columns; of rows that differ, of all of them."""
        if isinstance(self._table, list):
            return list(dict.fromkeys(name for row in self._table for name in row))
        return list(self._table.column_names)

    def column(self, name: str) -> list[Any]:
        """Its cells; None where a row has none."""
        if isinstance(self._table, list):
            return [row.get(name) for row in self._table]
        return list(self._table.column(name).to_pylist())


def _delimited(path: Path, *, quoted: bool) -> pa.Table:
    """All cells as texts: what a label is must not depend on what the others look like."""
    delimiter = "," if quoted else "\t"
    parse = pa.csv.ParseOptions(
        delimiter=delimiter, quote_char='"' if quoted else False, newlines_in_values=quoted, ignore_empty_lines=True
    )
    with pa.csv.open_csv(path, parse_options=parse) as first:
        names = first.schema.names
    convert = pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
    return pa.csv.read_csv(path, parse_options=parse, convert_options=convert)


def _jsonl(path: Path) -> list[dict[str, Any]]:
    rows = []
    for line_number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(f"{path}:{line_number}: not JSON ({error}); expected one object a line") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}:{line_number}: found a JSON {type(row).__name__}; expected one object a line")
        rows.append(row)
    return rows


_READERS: Final[Mapping[str, Callable[[Path], Any]]] = {
    ".csv": lambda path: _delimited(path, quoted=True),
    ".tsv": lambda path: _delimited(path, quoted=False),
    ".jsonl": _jsonl,
    ".parquet": pq.read_table,
}
