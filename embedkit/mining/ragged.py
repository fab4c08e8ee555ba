"""Maxima over lists of different lengths. Pure NumPy."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embedkit.mining.filters import NONE, Rows

Floats = NDArray[np.float32]
Compare = Callable[[Rows, Rows], NDArray[Any]]
"""Two numbers a pair, both (P,) -> what is to be maximised, (P,)."""

_PAIRS: Final = 1 << 18  # compared at a time


@dataclass(frozen=True)
class Lists:
    """C lists: of list i, `counts[i]` entries of `flat` from `starts[i]` on. Lists may share entries."""

    flat: Rows
    starts: Rows  # (C,)
    counts: Rows  # (C,)

    def take(self, places: Rows | slice) -> "Lists":
        """These lists."""
        return Lists(self.flat, self.starts[places], self.counts[places])


def greatest(items: Rows, lists: Lists, compare: Compare, *, but: Rows | None = None) -> Floats:
    """(C,) the greatest of each item (C,) compared with the entries of its list; NaN where the list is empty.

    `but` (C,): an entry that is left out of the item's list.
    """
    result = np.full(len(items), np.nan, dtype=np.float32)
    for some in _parts(lists.counts):
        counts = lists.counts[some]
        own = np.repeat(some, counts)
        starts = np.cumsum(counts) - counts
        entries = lists.flat[np.repeat(lists.starts[some] - starts, counts) + np.arange(len(own))]
        kept = np.ones(len(own), dtype=np.bool_) if but is None else entries != but[own]
        if kept.any():
            values = np.full(len(own), -np.inf, dtype=np.float32)
            values[kept] = compare(items[own[kept]], entries[kept])
            best = np.maximum.reduceat(values, starts)
            result[some] = np.where(np.logical_or.reduceat(kept, starts), best, np.nan)
    return result


def laid_out(lists: list[Rows]) -> Lists:
    """The lists, end to end."""
    counts = np.array([len(rows) for rows in lists], dtype=np.int64)
    flat = np.concatenate([*lists, np.empty(0, dtype=np.int64)])
    return Lists(flat, np.cumsum(counts) - counts, counts)


def on_grid(rows: Rows, query_of: Rows, values: Floats) -> Floats:
    """(Q, K) the values of the entries of `rows` (Q, K) that hold a document, in order; NaN elsewhere."""
    grid = np.full(rows.shape, np.nan, dtype=np.float32)
    grid[query_of, np.nonzero(rows != NONE)[1]] = values
    return grid


def _parts(counts: Rows) -> Iterator[Rows]:
    """Places of the lists that are not empty, of at most `_PAIRS` entries together, or of one list that is longer."""
    places = np.flatnonzero(counts)
    ends = np.cumsum(counts[places])
    start = 0
    while start < len(places):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _PAIRS, "right")))
        yield places[start:stop]
        start = stop
