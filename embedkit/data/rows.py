"""Rows of JSONL, TSV, Parquet and Arrow files, each with its place, and what is wrong with those that are bad."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from embedkit.core.errors import DataError, first_few

_AT_A_TIME: Final = 1024  # rows that are Python objects
_IPC_FILE: Final = b"ARROW1"
QRELS_HEADER: Final = ("query-id", "corpus-id", "score")


@dataclass(frozen=True)
class Row:
    """One record and where it stands, e.g. `corpus.jsonl:17` or `corpus.parquet row 17`; both count from 1."""

    where: str
    values: Mapping[str, Any]


class BadRow(Exception):
    """A row that cannot be used; the message says what was found and what would be right."""


@dataclass
class Rejects:
    """Everything wrong with a source: rows that cannot be used, and faults that no single row can be blamed for."""

    rows: list[dict[str, Any]] = field(default_factory=list)  # {"where", "problem", "row"}
    faults: list[str] = field(default_factory=list)  # one line each; these are never dropped

    def add(self, row: Row, problem: object) -> None:
        """Note one bad row."""
        self.note(row.where, str(problem), dict(row.values))

    def note(self, where: str, problem: str, row: object) -> None:
        """Note a bad row that could not even be taken apart; `row` is what was found."""
        self.rows.append({"where": where, "problem": problem, "row": row})

    def settle(self, on_bad_row: Literal["fail", "drop"], locate: Callable[[str], str]) -> None:
        """Raise one `DataError` with all that is wrong, unless it is rows alone and they may be dropped."""
        problems = list(self.faults)
        if on_bad_row == "fail":
            problems += [f"{r['where']}: {r['problem']}" for r in self.rows]
        if problems:
            raise DataError(*first_few([locate(problem) for problem in problems]))


def rows_of(path: Path, name: str, rejects: Rejects) -> Iterator[Row]:
    """Rows of a file whose suffix is one of `SUFFIXES`, or .tsv, read as a stream; `name` is what `where` calls it."""
    return _READERS[path.suffix](path, name, rejects)


def _jsonl_rows(path: Path, name: str, rejects: Rejects) -> Iterator[Row]:
    for where, line in _lines(path, name, rejects):
        try:
            values = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            fault = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else "too deep"
            rejects.note(where, f"malformed JSON: {fault}; expected one object a line", line)
            continue
        if isinstance(values, dict):
            yield Row(where, values)
        else:
            rejects.note(where, f"found a JSON {type(values).__name__}; expected one object a line", values)


def _tsv_rows(path: Path, name: str, rejects: Rejects) -> Iterator[Row]:
    lines = _lines(path, name, rejects)
    expected = "<TAB>".join(QRELS_HEADER)
    where, header = next(lines, (f"{name}:1", ""))
    if tuple(header.split("\t")) != QRELS_HEADER:
        rejects.faults.append(f"{where}: the header is {shown(header)}; expected {expected}")
        return
    for where, line in lines:
        cells = line.split("\t")
        if len(cells) == len(QRELS_HEADER):
            yield Row(where, dict(zip(QRELS_HEADER, cells, strict=True)))
        else:
            problem = f"found {len(cells)} column(s); expected {len(QRELS_HEADER)}, separated by tabs: {expected}"
            rejects.note(where, problem, line)


def _lines(path: Path, name: str, rejects: Rejects) -> Iterator[tuple[str, str]]:
    """Where and text of each line that is not blank; a line that is not UTF-8 is a reject."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            where = f"{name}:{number}"
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                problem = f"byte {error.start + 1} of the line (0x{raw[error.start]:02x}) is not UTF-8"
                rejects.note(where, problem, raw.decode("utf-8", errors="backslashreplace").rstrip("\r\n"))
                continue
            if line.strip():
                yield where, line


def _parquet_rows(path: Path, name: str, rejects: Rejects) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=_AT_A_TIME):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(f"{name} row {number}", values)
    except (OSError, pa.ArrowException) as error:
        rejects.faults.append(f"{name}: not a readable Parquet file ({error})")


def _arrow_rows(path: Path, name: str, rejects: Rejects) -> Iterator[Row]:
    try:
        number = 0
        for batch in arrow_batches(path):
            for start in range(0, len(batch), _AT_A_TIME):
                for values in batch.slice(start, _AT_A_TIME).to_pylist():
                    number += 1
                    yield Row(f"{name} row {number}", values)
    except (OSError, pa.ArrowException) as error:
        rejects.faults.append(f"{name}: not a readable Arrow file ({error})")


def arrow_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Record batches of an Arrow IPC file (Feather is one) or stream, memory-mapped."""
    with pa.memory_map(str(path)) as source:
        if source.read(len(_IPC_FILE)) == _IPC_FILE:
            reader = pa.ipc.open_file(source)
            yield from (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            source.seek(0)
            yield from pa.ipc.open_stream(source)


_READERS: Final[Mapping[str, Callable[[Path, str, Rejects], Iterator[Row]]]] = {
    ".jsonl": _jsonl_rows,
    ".tsv": _tsv_rows,
    ".parquet": _parquet_rows,
    ".arrow": _arrow_rows,
    ".feather": _arrow_rows,
}
SUFFIXES: Final = (".jsonl", ".parquet", ".arrow", ".feather")


def identifier(values: Mapping[str, Any], *names: str) -> str:
    """The id under the first of `names` that the row has; a string or a whole number."""
    name = next((n for n in names if n in values), None)
    if name is None:
        raise BadRow(f"has no {names[0]!r}; it has {shown(sorted(values))}")
    return as_identifier(values[name], name)


def as_identifier(value: Any, name: str) -> str:
    """`value` as an id."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadRow(f"{name} is {shown(value)}; expected a string")
    if not str(value).strip():
        raise BadRow(f"{name} is empty; every row needs an id of its own")
    return _unicode(str(value), name)


def text_of(values: Mapping[str, Any], name: str, *, default: str | None = None) -> str:
    """The string under `name`; `default` where the row has none."""
    value = values.get(name)
    if value is None and default is not None:
        return default
    if name not in values:
        raise BadRow(f"has no {name!r}; it has {shown(sorted(values))}")
    return as_text(value, name)


def as_text(value: Any, name: str) -> str:
    """`value` as a text."""
    if not isinstance(value, str):
        raise BadRow(f"{name} is {shown(value)}; expected a string")
    return _unicode(value, name)


def relevance_of(value: Any) -> int:
    """A relevance judgement; whole numbers only, however they are written."""
    try:
        if not isinstance(value, bool) and float(value) == int(float(value)) and abs(float(value)) < 2**31:
            return int(float(value))
    except (TypeError, ValueError, OverflowError):
        pass
    raise BadRow(f"the relevance is {shown(value)}; expected a whole number")


def score_of(value: Any, name: str) -> float:
    """A score: any finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadRow(f"{name} is {shown(value)}; expected a number")
    return float(value)


def listed(cell: Any) -> list[Any]:
    """The entries of a cell that holds one thing, a list of them, or nothing."""
    return [] if cell is None else list(cell) if isinstance(cell, list | tuple) else [cell]


def shown(value: object, *, limit: int = 60) -> str:
    """`value` as a reader sees it in an error, cut to one short line."""
    text = repr(list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else value)
    return text if len(text) <= limit else f"{text[:limit]}..."


def _unicode(text: str, name: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRow(f"{name} holds half a surrogate pair ({shown(text)}); that is not valid Unicode") from None
    return text
