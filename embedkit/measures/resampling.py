"""Bootstrap over queries of whatever is counted from their pairs: a query's pairs are drawn together or not at all.

A resample is a weight for each query, how often it was drawn. Statistics of pooled pairs are sums over queries of what
each has in each bin of the score, so that a thousand resamples are one product of matrices.
Reference: Obuchowski, Nonparametric analysis of clustered ROC curve data, Biometrics 53, 1997 (pairs of one query are
not independent); Efron & Tibshirani, An Introduction to the Bootstrap, 1993.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedkit.measures.pairs import Codes, Floats, Pairs
from embedkit.measures.separation import beaten, spread

_CELLS: Final = 1 << 22  # counts of one kind of pair; weights drawn at a time
_BINS: Final = (64, 2048)  # at least and at most

Counts = NDArray[np.float32]


@dataclass(frozen=True)
class Binned:
    """Pairs counted by query and by bin of their score."""

    edges: Floats  # (B,) the lowest score of each bin, rising
    positives: Counts  # (Q, B)
    negatives: Counts  # (Q, B)
    within: Floats  # (B,) AUC of the bin's own pairs, 0.5 where it has but one kind

    @classmethod
    def of(cls, pairs: Pairs) -> "Binned":
        """Bins that hold about equal shares of either kind; a bin for every score if these are few."""
        bins = int(np.clip(_CELLS // pairs.count, *_BINS))
        high, low = pairs.sides
        edges = np.union1d(spread(high, bins // 2), spread(low, bins // 2))
        cell = pairs.queries * len(edges) + np.searchsorted(edges, pairs.scores, "right") - 1
        shape = (pairs.count, len(edges))
        positives, negatives = (
            np.bincount(cell[kind], minlength=shape[0] * shape[1]).reshape(shape).astype(np.float32)
            for kind in (pairs.relevant, ~pairs.relevant)
        )
        return cls(edges, positives, negatives, _within(high, low, edges))

    def totals(self, weights: Floats) -> tuple[Floats, Floats]:
        """(rows, B) relevant and other pairs in each bin, for (rows, Q) weights of the queries."""
        own = weights.astype(np.float32)  # whole numbers, of which float32 adds up 16 million exactly
        return (own @ self.positives).astype(np.float64), (own @ self.negatives).astype(np.float64)

    def auc(self, positives: Floats, negatives: Floats) -> Floats:
        """(rows,) pooled AUC of (rows, B) totals. The order within a bin is taken to be as it was seen over all
        queries: exact for weights of 1, and where every score has a bin of its own."""
        below = np.cumsum(negatives, axis=1) - negatives
        wins = (positives * (below + self.within * negatives)).sum(axis=1)
        with np.errstate(invalid="ignore"):
            found: Floats = wins / (positives.sum(axis=1) * negatives.sum(axis=1))
        return found


def from_here_on(totals: Floats) -> Floats:
    """(rows, B) what is in each bin or a higher one."""
    found: Floats = np.cumsum(totals[:, ::-1], axis=1)[:, ::-1]
    return found


def resample(queries: int, statistics: Callable[[Floats], Floats], *, samples: int, seed: int) -> Floats:
    """(samples, ...) what `statistics` makes of (rows, Q) weights of the queries, some rows at a time."""
    rng, found = np.random.default_rng(seed), []
    rows = max(1, _CELLS // queries)
    for start in range(0, samples, rows):
        drawn: Codes = rng.integers(0, queries, (min(rows, samples - start), queries))
        size, shape = drawn.size, drawn.shape
        drawn += np.arange(shape[0])[:, None] * queries
        found.append(statistics(np.bincount(drawn.ravel(), minlength=size).reshape(shape).astype(np.float64)))
    return np.concatenate(found)


def percentiles(values: Floats, confidence: float) -> tuple[float, float]:
    """The interval that holds the middle `confidence` of the values; resamples without a value (NaN) do not count."""
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _within(high: Floats, low: Floats, edges: Floats) -> Floats:
    """AUC of the pairs of each bin among themselves."""
    starts = np.searchsorted(low, edges, "left")
    sizes = np.diff(np.r_[starts, len(low)])
    bins = np.searchsorted(edges, high, "right") - 1
    wins = np.bincount(bins, beaten(high, low) - starts[bins], minlength=len(edges))
    pairs = np.bincount(bins, minlength=len(edges)) * sizes
    return np.where(pairs > 0, wins / np.maximum(pairs, 1), 0.5)
