"""How many elements sets share with each other: an inverted index, so that every pair that shares any is counted."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedkit.core.runs import Sets

Rows = NDArray[np.int64]
Doubles = NDArray[np.float64]
_POSTINGS: Final = 1 << 21  # looked at at a time


@dataclass(frozen=True)
class Shared:
    """P pairs of a set that was asked for and one of the index, and how many elements they share, at least one."""

    asked: Rows  # (P,)
    rows: Rows  # (P,) of the index
    counts: Rows  # (P,)


class SetIndex:
    """n sets of 64-bit numbers. Takes 12 bytes an element."""

    def __init__(self, sets: Sets) -> None:
        order = np.argsort(sets.values, kind="stable")
        self._values, self.sizes = sets.values[order], sets.sizes
        self._rows = np.repeat(np.arange(len(sets), dtype=np.int32), sets.sizes)[order]

    def shared(self, sets: Sets, *, least: Doubles | None = None) -> Shared:
        """What each of `sets` shares with the index, in order. `least` (len(sets),): sets of which fewer elements than
        this are in the index at all may be left out."""
        starts = np.searchsorted(self._values, sets.values, "left")
        there = np.flatnonzero(starts < len(self._values))
        there = there[self._values[starts[there]] == sets.values[there]]
        own, starts = sets.owners()[there], starts[there]
        if least is not None:
            kept = (np.bincount(own, minlength=len(sets)) >= least - 1e-9)[own]
            own, starts, there = own[kept], starts[kept], there[kept]
        counts = np.searchsorted(self._values, sets.values[there], "right") - starts
        found = [self._count(own[part], starts[part], counts[part]) for part in _parts(own, counts)]
        nothing = np.empty(0, np.int64)
        return Shared(*(np.concatenate([nothing, *(getattr(one, name) for one in found)]) for name in _FIELDS))

    def _count(self, own: Rows, starts: Rows, counts: Rows) -> Shared:
        ends = np.cumsum(counts)
        rows = self._rows[np.arange(ends[-1]) - np.repeat(ends - counts - starts, counts)]
        keys, shared = np.unique(np.repeat(own, counts) * len(self.sizes) + rows, return_counts=True)
        return Shared(keys // len(self.sizes), keys % len(self.sizes), shared)


@dataclass(frozen=True)
class Likeness:
    """P pairs of a set that was asked for and one of the index, and how alike they are."""

    asked: Rows  # (P,)
    rows: Rows  # (P,)
    values: Doubles  # (P,)


def nearly_equal(index: SetIndex, sets: Sets, least: float) -> Likeness:
    """All pairs with |A ∩ B| / |A ∪ B| >= `least`, which is above 0."""
    found = index.shared(sets, least=least * sets.sizes)  # |A ∩ B| ≥ least · |A ∪ B| ≥ least · |A|
    union = sets.sizes[found.asked] + index.sizes[found.rows] - found.counts
    return _at_least(least, found, found.counts / union)


def contained(index: SetIndex, sets: Sets, least: float) -> tuple[Likeness, Likeness]:
    """All pairs where a set of the index B has at least this share of its elements in the set A that was asked for,
    |A ∩ B| / |B| >= `least` > 0; and all where it is the other way round, |A ∩ B| / |A|.

    Reference: Broder (1997), On the resemblance and containment of documents.
    """
    found = index.shared(sets)
    return (
        _at_least(least, found, found.counts / index.sizes[found.rows]),
        _at_least(least, found, found.counts / sets.sizes[found.asked]),
    )


def _at_least(least: float, found: Shared, values: Doubles) -> Likeness:
    kept = np.flatnonzero(values >= least - 1e-9)
    return Likeness(found.asked[kept], found.rows[kept], values[kept])


_FIELDS: Final = ("asked", "rows", "counts")


def _parts(own: Rows, counts: Rows) -> Iterator[slice]:
    """Slices that split no set, and have about as many postings as are looked at at a time."""
    edges = [*(np.flatnonzero(np.diff(own)) + 1).tolist(), len(own)]
    ends, start, before = np.cumsum(counts), 0, 0
    for edge, following in zip(edges, [*edges[1:], None], strict=True):
        if edge and (following is None or ends[following - 1] - before > _POSTINGS):
            yield slice(start, edge)
            start, before = edge, int(ends[edge - 1])
