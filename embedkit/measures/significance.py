"""Is one system better than another on the same queries, or was it luck with the queries?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedkit.core.errors import DataError
from embedkit.measures.bootstrap import bootstrap_means

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean difference a - b, a confidence interval of it, and a two-sided p-value of no difference."""

    difference: float
    low: float
    high: float
    p: float


def paired_bootstrap(
    a: ArrayLike, b: ArrayLike, *, samples: int = 10_000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Interval of the mean of a - b over resampled queries; `a` and `b` hold one value a query, aligned.

    The expanded percentile interval, see `embedkit.measures.bootstrap`; p is below 1 - confidence where it excludes
    zero, and never 0. One query tells nothing: its interval is a point and p is 1. Raises `DataError` if `a` and `b` do
    not pair, are empty or not finite.
    """
    found = bootstrap_means(paired_differences(a, b), samples=samples, rng=np.random.default_rng(seed))
    low, high = found.interval(confidence)
    return Interval(found.difference, low, high, found.p)


def paired_differences(a: ArrayLike, b: ArrayLike) -> Floats:
    """a - b, one value a query. Raises `DataError` if they do not pair, are empty or not finite."""
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise DataError(f"a paired test needs one value a query from each system; found {first.shape}, {second.shape}")
    if not first.size:
        raise DataError("a paired test needs at least one query; found none")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise DataError("a paired test needs finite values; found NaN or infinity")
    return first - second
