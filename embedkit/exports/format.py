"""What a format is: how a training query with its documents becomes rows of a table."""

import abc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import pyarrow as pa
from pydantic import PositiveInt

from embedkit.core.spec import Spec
from embedkit.core.text import document_text

SUFFIXES: Final = (".parquet", ".arrow", ".jsonl")


@dataclass(frozen=True, slots=True)
class Query:
    """A training query. `metadata` is a JSON object as text, "" where there is none."""

    id: str
    text: str
    metadata: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A document of the corpus. Title, text and metadata are "" where a format writes ids alone."""

    id: str
    title: str = ""
    text: str = ""
    metadata: str = ""

    @property
    def full_text(self) -> str:
        """What an encoder is given: title and text, a space between."""
        return document_text(self.title, self.text)


@dataclass(frozen=True, slots=True)
class Scored:
    """A document of a query, and its score where the format asks for scores."""

    document: Document
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A query with its positives and its negatives, of these no more than the format asks for."""

    query: Query
    positives: Sequence[Scored]
    negatives: Sequence[Scored]


class Format(Spec, abc.ABC):
    """A way to write training examples that some trainer reads. To add one: a class, and its name in `AnyFormat`."""

    kind: str
    negatives: PositiveInt | None = None  # at most so many a query; exactly so many where rows are `rectangular`
    scores: Literal["miner", "teacher"] | None = None  # whose scores of positives and negatives are written
    fills: bool = True  # whether negatives that a fill policy put there, which no search found, are written
    metadata: bool = False  # whether the metadata of queries and documents is written

    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES  # of files that its trainer reads
    rectangular: ClassVar[bool] = False  # every row has the same number of negatives
    lone_positives: ClassVar[bool] = False  # a query without negatives makes rows too

    @abc.abstractmethod
    def layout(self) -> pa.Schema:
        """Names and types of the columns."""

    @abc.abstractmethod
    def rows(self, example: Example) -> Iterator[tuple[Any, ...]]:
        """The rows of one query, values in the order of the columns."""

    def tables(self) -> Mapping[str, tuple[str, str]]:
        """Tables of the texts whose ids the rows have, `queries` or `documents` -> names of the columns of ids and of
        texts. None where rows have texts themselves."""
        return {}
