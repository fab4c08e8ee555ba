"""Entries of a mirror from one table a split: STS, classification, clustering and pair classification."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from embedkit.core.errors import DataError, did_you_mean
from embedkit.evaluation.mirror.entry import Check, make_entry, unchecked
from embedkit.evaluation.mirror.facts import Kind, TaskFacts, check_buildable, choose_splits
from embedkit.evaluation.mirror.layout import HubLayout
from embedkit.evaluation.mirror.manifest import Manifest
from embedkit.evaluation.tables import Cell, binary, label, number, read_columns, string

TYPES: Final = ("STS", "Classification", "Clustering", "PairClassification")
SUFFIXES: Final = (".csv", ".tsv", ".jsonl", ".parquet")
_USUAL: Final = ("train", "dev", "validation", "test")  # splits that come along though no score needs them


def _listed(cell: Cell) -> Cell:
    return lambda found: [cell(entry) for entry in found] if isinstance(found, list) else [cell(found)]


_KINDS: Final[Mapping[Kind, tuple[pa.DataType, Cell]]] = {
    "text": (pa.string(), string),
    "number": (pa.float64(), number),
    "binary": (pa.int64(), binary),
    "class": (pa.int64(), label),
    "texts": (pa.list_(pa.string()), _listed(string)),
    "classes": (pa.list_(pa.string()), _listed(label)),
}


def mirror_from_tables(
    mirror: Path,
    facts: TaskFacts,
    folder: Path,
    *,
    columns: Mapping[str, str] | None = None,
    splits: Mapping[str, tuple[str, ...]] | None = None,
    check: Check = unchecked,
) -> Manifest:
    """Make a task's entry from `<split>.csv`, `.tsv`, `.jsonl` or `.parquet` in `folder`.

    `columns` says what an official column is called in the files, where that is another name; `splits` of which files
    an official split is made. Classes that are words become numbers, in the order of the alphabet over all splits.
    Raises `DataError` if the task is of another kind, or a split, a column or a usable value is missing.
    """
    check_buildable(facts, "a folder of tables", types=TYPES)
    files, names = _files(folder), _names(facts, columns or {})
    made_of = choose_splits(facts, list(files), splits or {}, str(folder))
    wanted = {*facts.splits, *(splits or {}), *_USUAL}

    def fill(data: Path) -> str:
        shutil.rmtree(data)
        found = {
            official: _read(facts, [files[part] for part in parts], names)
            for official, parts in sorted(made_of.items())
            if official in wanted
        }
        _number_classes(facts, list(found.values()))
        layout, schema = HubLayout(data), pa.schema([(name, _KINDS[kind][0]) for name, kind in facts.columns.items()])
        for official, table in found.items():
            layout.write("default", official, schema, _rows(facts, table))
        return layout.finish("tables")

    return make_entry(mirror, facts, "tables", fill, check)


def _files(folder: Path) -> dict[str, Path]:
    """Split -> its file."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected one with test{', test'.join(SUFFIXES)} or other splits")
    found = {path.stem: path for suffix in reversed(SUFFIXES) for path in sorted(folder.glob(f"*{suffix}"))}
    return dict(sorted(found.items()))


def _names(facts: TaskFacts, columns: Mapping[str, str]) -> dict[str, str]:
    """Official column -> its name in the files."""
    if unknown := [name for name in columns if name not in facts.columns]:
        known = list(facts.columns)
        raise DataError(f"{facts.name}: has no column {unknown[0]!r}; it has {known}{did_you_mean(unknown[0], known)}")
    return {official: columns.get(official, official) for official in facts.columns}


def _read(facts: TaskFacts, files: Sequence[Path], names: Mapping[str, str]) -> dict[str, list[Any]]:
    """Official column -> its values in all of the files, one after the other."""
    cells = {names[official]: _KINDS[kind][1] for official, kind in facts.columns.items()}
    parts = [read_columns(file, cells) for file in files]
    return {official: [*chain.from_iterable(part[name] for part in parts)] for official, name in names.items()}


def _number_classes(facts: TaskFacts, tables: Sequence[dict[str, list[Any]]]) -> None:
    """Give each class its own number where all are whole numbers, each written in one way, else its place in the
    alphabet: "01" and "1" are two classes."""
    for name in (name for name, kind in facts.columns.items() if kind == "class"):
        classes = sorted({value for table in tables for value in table[name]})
        whole = all(value.removeprefix("-").isdecimal() for value in classes)
        own = [int(value) for value in classes] if whole else []
        numbers = dict(zip(classes, own if len(set(own)) == len(classes) else range(len(classes)), strict=True))
        for table in tables:
            table[name] = [numbers[value] for value in table[name]]


def _rows(facts: TaskFacts, table: Mapping[str, list[Any]]) -> Iterator[Sequence[Any]]:
    """The rows; where a task's rows are whole experiments but the table's are single texts, they are one experiment."""
    columns = [table[name] for name in facts.columns]
    if "texts" in facts.columns.values() and all(len(cell) == 1 for cell in columns[0]):
        columns = [[[*chain.from_iterable(column)]] for column in columns]
    yield from zip(*columns, strict=True)
