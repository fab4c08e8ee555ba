"""Rows into batches in which no positive is known to be relevant to another query."""

from array import array
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final

import numpy as np

from embedkit.training.examples import Examples
from embedkit.training.lists import Lists, Places

_AT_A_TIME: Final = 1 << 16  # draws that are Python numbers at a time
_ENTRIES: Final = 1 << 18  # documents that queries know which are, about; a query may know thousands


class Conflicts:
    """Which rows may not be in one batch: those of which one's query knows a positive of the other's to be relevant.

    Rows of one query are always such rows.
    """

    def __init__(self, examples: Examples) -> None:
        self._queries, self._positives, self._known = (
            examples.rows.queries,
            examples.rows.positives,
            examples.known.lists,
        )
        rows = np.bincount(self._queries, minlength=len(self._known))
        of_trained = np.repeat(rows > 0, self._known.lengths)
        askers = np.bincount(self._known.values[of_trained], minlength=len(examples.documents))
        shares = np.bincount(self._known.owners[askers[self._known.values] > 1], minlength=len(self._known)) > 0
        self.possible = (shares | (rows > 1))[self._queries]  # (R,) whether a row conflicts with any other

    def __len__(self) -> int:
        return len(self._queries)

    def documents(self, rows: Places) -> Iterator[tuple[list[int], list[int]]]:
        """The positives of each row, and what its query knows; where that is much, of some rows at a time."""
        queries = self._queries[rows]
        entries = np.cumsum(self._known.offsets[queries + 1] - self._known.offsets[queries])
        for some in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(entries // _ENTRIES)) + 1):
            positives, known = self._positives.take(rows[some]), self._known.take(queries[some])
            yield from zip(positives.python(), known.python(), strict=True)

    def of(self, row: int) -> tuple[list[int], list[int]]:
        """The same of one row."""
        return self._positives[row].tolist(), self._known[int(self._queries[row])].tolist()


class Filler:
    """Fills batch after batch. A draw that does not go with a batch waits for the next, first come, first served.

    A draw is a number: its row + its turn · the number of rows. Waiting draws stand in a queue for each document that
    keeps them out, so that a document thousands of them have in common costs one look a batch.
    """

    def __init__(self, conflicts: Conflicts, size: int) -> None:
        self._conflicts, self._size = conflicts, size
        self._made, self._sizes = array("q"), array("q")
        self._batch: list[int] = []
        self._positives: set[int] = set()  # of the batch
        self._known: set[int] = set()
        self._queues: dict[int, list[tuple[int, int]]] = {}  # (arrival, draw), heaps
        self._rows: set[int] = set()  # that wait
        self._arrivals = count()

    @property
    def batches(self) -> Lists:
        """What is made so far."""
        return Lists.of_lengths(np.array(self._sizes, dtype=np.int64), np.array(self._made, dtype=np.int64))

    def feed(self, draws: Places, carried: Places) -> None:
        """Take draws in this order; one whose row already waits is left out. `carried`: rows that may come twice."""
        for start in range(0, len(draws), _AT_A_TIME):
            part = draws[start : start + _AT_A_TIME]
            rows = part % len(self._conflicts)
            doubtful = self._conflicts.possible[rows] | np.isin(rows, carried)
            self._feed(part.tolist(), rows, np.flatnonzero(doubtful))

    def rest(self) -> list[int]:
        """The draws that are in no batch yet, which are forgotten."""
        waiting = sorted(entry for queue in self._queues.values() for entry in queue)
        rest = self._batch + [draw for _, draw in waiting]
        self._queues, self._rows = {}, set()
        self._clear()
        return rest

    def give_up(self) -> None:
        """Make batches although they are not full, as long as they are as large as the first of these."""
        size = len(self._batch)
        while self._batch and len(self._batch) >= size:
            self._close()

    def _feed(self, draws: list[int], rows: Places, doubtful: Places) -> None:
        begin = 0
        for place, (positives, known) in zip(doubtful.tolist(), self._conflicts.documents(rows[doubtful]), strict=True):
            if begin < place:
                self._take(draws[begin:place])
            begin = place + 1
            draw = draws[place]
            if draw % len(self._conflicts) not in self._rows:
                self._offer(draw, positives, known)
        self._take(draws[begin:])

    def _take(self, draws: list[int]) -> None:
        """Draws that conflict with nothing."""
        begin = 0
        while len(draws) - begin >= (need := self._size - len(self._batch)):
            self._batch += draws[begin : begin + need]
            begin += need
            self._next()
        self._batch += draws[begin:]

    def _offer(self, draw: int, positives: list[int], known: list[int]) -> None:
        obstacle = self._obstacle(positives, known)
        if obstacle is not None:
            heappush(self._queues.setdefault(obstacle, []), (next(self._arrivals), draw))
            self._rows.add(draw % len(self._conflicts))
            return
        self._add(draw, positives, known)
        if len(self._batch) == self._size:
            self._next()

    def _obstacle(self, positives: list[int], known: list[int]) -> int | None:
        """What keeps a row out of the batch: a positive d that one of its queries knows, or one of its own, as ~d."""
        if not self._known.isdisjoint(positives):
            return next(d for d in positives if d in self._known)
        if not self._positives.isdisjoint(known):
            return ~next(d for d in known if d in self._positives)
        return None

    def _add(self, draw: int, positives: list[int], known: list[int]) -> None:
        self._batch.append(draw)
        self._positives.update(positives)
        self._known.update(known)

    def _next(self) -> None:
        """Close the full batch, and those that waiting draws fill."""
        while len(self._batch) == self._size:
            self._close()

    def _close(self) -> None:
        """Put the batch to the others, and let the draws that wait into the next."""
        self._made.extend(self._batch)
        self._sizes.append(len(self._batch))
        self._clear()
        heads = [(queue[0], obstacle) for obstacle, queue in self._queues.items()]
        heapify(heads)
        while heads and len(self._batch) < self._size:
            _, obstacle = heappop(heads)
            if not self._stands(obstacle):
                self._admit(obstacle)
                if obstacle in self._queues:
                    heappush(heads, (self._queues[obstacle][0], obstacle))

    def _admit(self, obstacle: int) -> None:
        """Let the first of a queue into the batch, or into the queue for what keeps it out now."""
        queue = self._queues[obstacle]
        arrival, draw = heappop(queue)
        if not queue:
            del self._queues[obstacle]
        row = draw % len(self._conflicts)
        documents = self._conflicts.of(row)
        other = self._obstacle(*documents)
        if other is None:
            self._rows.remove(row)
            self._add(draw, *documents)
        else:
            heappush(self._queues.setdefault(other, []), (arrival, draw))

    def _stands(self, obstacle: int) -> bool:
        return obstacle in self._known if obstacle >= 0 else ~obstacle in self._positives

    def _clear(self) -> None:
        self._batch, self._positives, self._known = [], set(), set()
