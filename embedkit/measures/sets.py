"""Which sets are nearly equal, or one inside the other: every pair that is, by inverted indexes, none compared in vain.

Where a set A shares at least `least` · |A| elements with B, B lacks |A| - ⌈least · |A|⌉ of them at most: so of any more
B has one. Only that many are looked up, the rarest, and what they find is compared in full.
Reference: Chaudhuri, Ganti and Kaushik (2006), A primitive operator for similarity joins in data cleaning.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedkit.core.runs import Hashes, Sets

Rows = NDArray[np.int64]
Doubles = NDArray[np.float64]
_POSTINGS: Final = 1 << 21  # looked at at a time
_SLACK: Final = 1e-9  # of a threshold, for rounding


@dataclass(frozen=True)
class Likeness:
    """P pairs of a set that was asked for and one of the index, and how alike they are, in order."""

    asked: Rows  # (P,)
    rows: Rows  # (P,)
    values: Doubles  # (P,)


class SetIndex:
    """n sets of 64-bit numbers, above all to be asked which are like other sets. Takes 20 bytes an element."""

    def __init__(self, sets: Sets) -> None:
        order = np.argsort(sets.values, kind="stable")
        self._values, self.sets = sets.values[order], sets
        self._rows = np.repeat(np.arange(len(sets), dtype=np.int32), sets.sizes)[order]

    def sharing(self, sets: Sets) -> tuple[Rows, Rows]:
        """All pairs, of one of `sets` and one of the index, that share an element."""
        starts, counts = self.find(sets.values)
        own, found = sets.owners(), [np.empty(0, np.int64)]
        there = np.flatnonzero(counts)
        for part in _parts(own[there], counts[there]):
            chosen = there[part]
            ends = np.cumsum(counts[chosen])
            places = np.arange(ends[-1]) - np.repeat(ends - counts[chosen] - starts[chosen], counts[chosen])
            found.append(np.unique(np.repeat(own[chosen], counts[chosen]) * len(self.sets) + self._rows[places]))
        pairs = np.concatenate(found)
        return pairs // max(1, len(self.sets)), pairs % max(1, len(self.sets))

    def find(self, values: Hashes) -> tuple[Rows, Rows]:
        """Where each element's sets are listed, and in how many sets it is."""
        starts = np.searchsorted(self._values, values, "left")
        there = np.flatnonzero(starts < len(self._values))
        there = there[self._values[starts[there]] == values[there]]
        counts = np.zeros(len(values), dtype=np.int64)
        counts[there] = np.searchsorted(self._values, values[there], "right") - starts[there]
        return starts, counts

    def rarest(self, sets: Sets, least: float) -> Sets:
        """Of each set the elements of which any other has one that has `least` of them all; none of a set that no set
        of the index can be such to."""
        counts, own = self.find(sets.values)[1], sets.owners()
        needed = np.ceil(least * sets.sizes - _SLACK)
        enough = np.bincount(own, weights=counts > 0, minlength=len(sets)) >= needed
        order = np.lexsort((sets.values, counts, own))
        place = np.arange(len(own)) - np.repeat(np.cumsum(sets.sizes) - sets.sizes, sets.sizes)
        chosen = np.zeros(len(own), dtype=np.bool_)
        chosen[order[place < np.where(enough, sets.sizes - needed + 1, 0)[own]]] = True
        return Sets(sets.values[chosen], np.bincount(own[chosen], minlength=len(sets)))


def nearly_equal(index: SetIndex, sets: Sets, least: float) -> Likeness:
    """All pairs with |A ∩ B| / |A ∪ B| >= `least`, which is above 0."""
    asked, rows = index.sharing(index.rarest(sets, least))  # |A ∩ B| ≥ least · |A ∪ B| ≥ least · |A|
    a, b = sets.sizes[asked], index.sets.sizes[rows]
    like = np.minimum(a, b) >= least * np.maximum(a, b) - _SLACK
    asked, rows = asked[like], rows[like]
    shared = _intersections(sets, asked, index.sets, rows)
    return _at_least(least, asked, rows, shared / (a[like] + b[like] - shared))


class Containment:
    """n sets, to be asked which of them are inside other sets, or the other way round.

    Reference: Broder (1997), On the resemblance and containment of documents.
    """

    def __init__(self, sets: Sets, least: float) -> None:
        self._index, self._least = SetIndex(sets), least
        self._rarest = SetIndex(self._index.rarest(sets, least))

    def inside(self, sets: Sets) -> Likeness:
        """All pairs where a set B of the index has |A ∩ B| / |B| >= `least` with the set A that was asked for."""
        asked, rows = self._rarest.sharing(sets)
        shared = _intersections(self._index.sets, rows, sets, asked)
        return _at_least(self._least, asked, rows, shared / self._index.sets.sizes[rows])

    def around(self, sets: Sets) -> Likeness:
        """All pairs where |A ∩ B| / |A| >= `least`."""
        asked, rows = self._index.sharing(self._index.rarest(sets, self._least))
        shared = _intersections(sets, asked, self._index.sets, rows)
        return _at_least(self._least, asked, rows, shared / sets.sizes[asked])


def _at_least(least: float, asked: Rows, rows: Rows, values: Doubles) -> Likeness:
    kept = np.flatnonzero(values >= least - _SLACK)
    return Likeness(asked[kept], rows[kept], values[kept])


def _intersections(sets: Sets, chosen: Rows, others: Sets, rows: Rows) -> Rows:
    """(P,) how many elements the P pairs of sets share."""
    ends, other_ends = np.cumsum(sets.sizes), np.cumsum(others.sizes)
    counts = np.empty(len(chosen), dtype=np.int64)
    for pair, (one, other) in enumerate(zip(chosen.tolist(), rows.tolist(), strict=True)):
        a = sets.values[ends[one] - sets.sizes[one] : ends[one]]
        b = others.values[other_ends[other] - others.sizes[other] : other_ends[other]]
        counts[pair] = np.count_nonzero(b[np.minimum(np.searchsorted(b, a), len(b) - 1)] == a)
    return counts


def _parts(own: Rows, counts: Rows) -> Iterator[slice]:
    """Slices that split no set, and have about as many postings as are looked at at a time."""
    edges = [*(np.flatnonzero(np.diff(own)) + 1).tolist(), len(own)]
    ends, start, before = np.cumsum(counts), 0, 0
    for edge, following in zip(edges, [*edges[1:], None], strict=True):
        if edge and (following is None or ends[following - 1] - before > _POSTINGS):
            yield slice(start, edge)
            start, before = edge, int(ends[edge - 1])
