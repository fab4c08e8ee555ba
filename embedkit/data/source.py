"""What a dataset can be read from, and what its readers share."""

import abc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from embedkit.core.estimate import Size
from embedkit.core.progress import Progress
from embedkit.core.spec import Spec
from embedkit.data.assemble import Tables
from embedkit.data.metadata import Carried
from embedkit.data.rows import Rejects, Row


class Source(Spec, abc.ABC):
    """Something a dataset can be read from."""

    kind: str
    on_bad_row: Literal["fail", "drop"] = "fail"  # drop: leave the row out, count it, write it to rejects.jsonl
    metadata: bool | tuple[str, ...] = True  # carry other fields of documents and queries: all, none, or those named

    def load(self, work: Path, progress: Progress) -> tuple[Tables, Rejects]:
        """Read everything; one `DataError` lists all that is wrong with the source."""
        tables, rejects = Tables(work, Carried(self.metadata)), Rejects()
        self.read(tables, rejects, work, progress)
        if not rejects.rows and not rejects.faults:
            rejects.faults += [f"metadata: no row has a {name!r} to carry" for name in tables.carried.missing()]
        rejects.settle(self.on_bad_row, self.locate)
        return tables, rejects

    @abc.abstractmethod
    def read(self, tables: Tables, rejects: Rejects, work: Path, progress: Progress) -> None:
        """Read all rows into `tables`, bad ones into `rejects`; `work` is for files a reader has to unpack."""

    @property
    @abc.abstractmethod
    def place(self) -> str:
        """What the source as a whole is called in a message."""

    @abc.abstractmethod
    def locate(self, problem: str) -> str:
        """A problem as shown to the user; `problem` starts with a place relative to this source."""

    def size(self) -> Size:
        """About how much there is, from a look at the files."""
        return Size()

    @property
    def scored(self) -> bool:
        """Whether its pairs have scores."""
        return False


def no_class(tables: Tables, class_field: str | None, rejects: Rejects) -> list[str]:
    """A fault if nothing that was read has the field that should say what class a text is of."""
    if class_field is None or tables.document_classes or tables.query_classes or rejects.rows or rejects.faults:
        return []
    return [f"corpus and queries: no row has a {class_field!r}, which `class_field` says is the class of a text"]


def counted(rows: Iterator[Row], advance: Any) -> Iterator[Row]:
    """The rows; `advance` is told of each."""
    for row in rows:
        advance(1)
        yield row
