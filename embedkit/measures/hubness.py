"""Do a few documents come up for many queries, and do they gain when the queries are changed?

Lists of retrieved documents are (Q, k) rows of a corpus of n documents, -1 where a slot does not count. A document's
k-occurrence N_k is in how many of the Q lists it is.

    skewness   E[(N_k - mean)³] / sd³ over all n documents; the usual measure of hubness
    gini       0 if every document is in as many lists, towards 1 if one is in all
    top_share  of all slots that count, those taken by the `share` of documents that take most (at least one document)

Two lists a query, of the query as it is and as it was changed, can be swapped if the change favours no document: that
is the null hypothesis here, and random swaps give its distribution.
Reference: https://jmlr.org/papers/v11/radovanovic10a.html (N_k and its skewness); for swaps Fisher, The Design of
Experiments, 1935.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedkit.core.errors import DataError

Rows = NDArray[np.int64]
Doubles = NDArray[np.float64]
Concentration = Callable[[Rows, int], float]  # (counts of some documents, n; the others' are 0) -> statistic
_SLACK: Final = 1e-12


@dataclass(frozen=True)
class Change:
    """A statistic of the lists of plain and of changed queries, and the chance that swaps raise it as much."""

    plain: float
    changed: float
    p: float


def occurrences(rows: Rows, n: int) -> Rows:
    """(n,) in how many of the lists (Q, k) each document is."""
    return np.bincount(rows[rows >= 0], minlength=n)


def skewness(counts: Rows, n: int) -> float:
    """Of n counts of which those not given are 0; 0 if all are equal."""
    mean = float(counts.sum()) / n
    rest = n - len(counts)
    second = (float(((counts - mean) ** 2).sum()) + rest * mean**2) / n
    third = (float(((counts - mean) ** 3).sum()) - rest * mean**3) / n
    return third / second**1.5 if second > _SLACK else 0.0


def gini(counts: Rows, n: int) -> float:
    """Of n counts of which those not given are 0; 0 if there are none."""
    total, ordered = float(counts.sum()), np.sort(counts)
    ranks = np.arange(n - len(counts) + 1, n + 1)
    return 2 * float((ranks * ordered).sum()) / (n * total) - (n + 1) / n if total else 0.0


def top_share(counts: Rows, n: int, *, share: float = 0.001) -> float:
    """Share of the slots that belongs to the `share` of documents with most of them; 0 if there are no slots."""
    total, most = float(counts.sum()), max(1, math.ceil(share * n))
    return float(np.sort(counts)[::-1][:most].sum()) / total if total else 0.0


def change(
    plain: Rows, changed: Rows, n: int, statistic: Concentration, *, samples: int = 1000, seed: int = 0
) -> Change:
    """The statistic of both lists (Q, k) of Q queries, and the one-sided p-value of its rise under random swaps.

    p = (swaps whose rise is at least the observed one + 1) / (samples + 1). Raises `DataError` if lists do not pair.
    """
    _check(plain, changed)
    _, packed = np.unique(np.concatenate([plain, changed]), return_inverse=True)
    # documents in no list stay out of the counts; -1, if it is there, comes first
    spare = int(min(plain.min(initial=0), changed.min(initial=0)) < 0)
    both = packed.reshape(2, *plain.shape) - spare
    m = int(both.max(initial=-1)) + 1

    def rise(first: Rows, second: Rows) -> tuple[float, float]:
        return statistic(occurrences(first, m), n), statistic(occurrences(second, m), n)

    before, after = rise(both[0], both[1])
    rng, count = np.random.default_rng(seed), 0
    for _ in range(samples):
        swapped = rng.integers(0, 2, len(plain), dtype=np.bool_)[:, None]
        low, high = rise(np.where(swapped, both[1], both[0]), np.where(swapped, both[0], both[1]))
        count += high - low >= after - before - _SLACK
    return Change(before, after, (count + 1) / (samples + 1))


@dataclass(frozen=True)
class Gains:
    """In how many lists of changed queries alone, and of plain queries alone, each document is; (n,) both."""

    won: Rows
    lost: Rows

    @property
    def net(self) -> Rows:
        """(n,) lists won less lists lost."""
        return self.won - self.lost

    def p_values(self) -> Doubles:
        """(n,) chance of so many won of those won or lost, each a coin's toss: McNemar's exact test, one-sided.

        Reference: https://doi.org/10.1007/BF02295996.
        """
        from scipy.stats import binom

        total = self.won + self.lost
        return np.where(total > 0, binom.sf(self.won - 1, total, 0.5), 1.0)


def gains(plain: Rows, changed: Rows, n: int) -> Gains:
    """What each document wins and loses. A list has a document at most once. Raises `DataError` if they do not pair."""
    _check(plain, changed)
    return Gains(occurrences(_without(changed, plain), n), occurrences(_without(plain, changed), n))


def largest_gain(plain: Rows, changed: Rows, n: int, *, samples: int = 1000, seed: int = 0) -> tuple[int, float]:
    """The largest net gain of a document, and the chance that random swaps give any document as much (max-T).

    One p-value for all documents: it is not to be corrected for their number. Reference: Westfall and Young,
    Resampling-Based Multiple Testing, 1993.
    """
    _check(plain, changed)
    wins, losses = _without(changed, plain), _without(plain, changed)
    flat = np.concatenate([wins.ravel(), losses.ravel()])
    query = np.tile(np.repeat(np.arange(len(plain)), plain.shape[1]), 2)
    weight = np.repeat([1.0, -1.0], wins.size)
    there = flat >= 0
    distinct, place = np.unique(flat[there], return_inverse=True)
    if not len(distinct):
        return 0, 1.0
    query, weight = query[there], weight[there]
    observed = float(np.bincount(place, weight).max())
    count = 0
    for signs in _signs(len(plain), samples, seed):
        count += float(np.bincount(place, weight * signs[query]).max()) >= observed
    return int(observed), (count + 1) / (samples + 1)


def _signs(queries: int, samples: int, seed: int) -> Iterator[Doubles]:
    rng = np.random.default_rng(seed)
    for _ in range(samples):
        yield 1.0 - 2.0 * rng.integers(0, 2, queries).astype(np.float64)


def _without(rows: Rows, others: Rows) -> Rows:
    """(Q, k) `rows`, -1 where the same query's list in `others` has the document too."""
    shared = np.zeros(rows.shape, dtype=np.bool_)
    for column in others.T:
        shared |= rows == column[:, None]
    return np.where(shared, -1, rows)


def _check(plain: Rows, changed: Rows) -> None:
    if plain.ndim != 2 or plain.shape != changed.shape:
        raise DataError(f"lists of plain and changed queries pair row by row; found {plain.shape}, {changed.shape}")
