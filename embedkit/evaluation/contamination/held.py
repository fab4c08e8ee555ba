"""The texts that tasks are evaluated on, each distinct one once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, overload

import numpy as np
from numpy.typing import NDArray

from embedkit.core.runs import Hashes, Words

AT_A_TIME: Final = 2048  # texts that are Python objects
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]
Side = Literal["queries", "relevant", "documents"]
SIDES: Final[tuple[Side, ...]] = ("queries", "relevant", "documents")


@dataclass(frozen=True)
class Held:
    """What one task is evaluated on; where texts are no queries but sentences or such, they stand as queries."""

    name: str
    query_ids: Sequence[str]
    queries: Sequence[str]  # texts, without prompts
    doc_ids: Sequence[str] = ()
    documents: Sequence[str] = ()  # title and text
    qrels: Mapping[str, Mapping[str, int]] | None = None  # query_id -> doc_id -> relevance
    left_out: Sequence[str] = ()  # rows of the source that could not be used, and why

    def judged(self) -> list[tuple[str, str]]:
        """(query_id, doc_id) of all that is relevant."""
        return [(q, doc) for q, docs in (self.qrels or {}).items() for doc, grade in docs.items() if grade > 0]


class HeldTexts:
    """The U distinct texts ("units") of some tasks, numbered as they first appear; texts without words are none."""

    def __init__(self, tasks: Sequence[Held]) -> None:
        self.tasks = tasks
        self._columns = [column for task in tasks for column in (task.queries, task.documents)]
        self._starts = np.cumsum([0, *map(len, self._columns)])
        parts = [_digests(column) for column in self._columns]
        digests = np.concatenate([np.empty(0, np.uint64), *(part for part, _ in parts)])
        found, first, places = np.unique(digests, return_index=True, return_inverse=True)
        words = found != 0
        order = np.argsort(first[words], kind="stable")
        self.first: Rows = first[words][order]  # (U,) where a unit's text stands among all
        numbers = np.full(len(found), -1, dtype=np.int64)
        numbers[np.flatnonzero(words)[order]] = np.arange(len(order))
        self._units: Rows = numbers[places]
        self._digests, self._of_digest = found[words], numbers[words]
        self.words = sum(count for _, count in parts)  # of all texts

    def __len__(self) -> int:
        return len(self.first)

    def units(self, task: int, side: Literal["queries", "documents"]) -> Rows:
        """(n,) the unit of each of the task's queries, or documents; -1 for texts without words."""
        column = 2 * task + (side == "documents")
        return self._units[self._starts[column] : self._starts[column + 1]]

    def same(self, digests: Hashes) -> Rows:
        """(n,) the unit that is the same as each text with these digests; -1 where none is."""
        if not len(self):
            return np.full(len(digests), -1, dtype=np.int64)
        places = np.minimum(np.searchsorted(self._digests, digests), len(self) - 1)
        return np.where(self._digests[places] == digests, self._of_digest[places], -1)

    def texts(self, units: Rows) -> list[str]:
        """The texts of these units."""
        rows = self.first[units]
        columns = np.searchsorted(self._starts, rows, "right") - 1
        places = zip(columns.tolist(), (rows - self._starts[columns]).tolist(), strict=True)
        return [self._columns[column][row] for column, row in places]

    def column(self, units: Rows) -> "Column":
        """The same as a column whose texts are read when they are asked for."""
        return Column(self, units)

    def batches(self) -> Iterator[tuple[Rows, Words]]:
        """All units in order, some at a time, as words."""
        for start in range(0, len(self), AT_A_TIME):
            units = np.arange(start, min(start + AT_A_TIME, len(self)))
            yield units, Words(self.texts(units))


class Column(Sequence[str]):
    """The texts of some units."""

    def __init__(self, held: HeldTexts, units: Rows) -> None:
        self._held, self._units = held, units

    def __len__(self) -> int:
        return len(self._units)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> "Column": ...
    def __getitem__(self, row: int | slice) -> "str | Column":
        if isinstance(row, slice):
            return Column(self._held, self._units[row])
        return self._held.texts(self._units[int(row) : int(row) + 1])[0]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), AT_A_TIME):
            yield from self._held.texts(self._units[start : start + AT_A_TIME])


def _digests(texts: Sequence[str]) -> tuple[Hashes, int]:
    """Of all texts, and how many words they have."""
    found, count = [np.empty(0, np.uint64)], 0
    for start in range(0, len(texts), AT_A_TIME):
        words = Words(list(texts[start : start + AT_A_TIME]))
        found.append(words.digests)
        count += int(words.lengths.sum())
    return np.concatenate(found), count
