"""Is one system better than another on the same queries, or was it luck with the queries?"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedkit.core.errors import DataError
from embedkit.measures.bootstrap import SLACK, bootstrap_means
from embedkit.measures.randomization import randomize_means

_EXACT: Final = 1 << 16  # sign patterns up to which the randomisation test tries them all

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


def paired_randomization(a: ArrayLike, b: ArrayLike, *, samples: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value of Fisher's randomisation test on the mean of a - b, `a` and `b` aligned by query.

    If the systems do not differ, each query's difference is as likely to have the other sign. p is the share of sign
    patterns whose mean is at least as far from zero as the observed one: of all 2^n patterns where those are few, else
    of `samples` random ones, the observed one counted among them: (count + 1) / (samples + 1).
    Raises `DataError` as `paired_bootstrap` does. Reference: https://dl.acm.org/doi/10.1145/1321440.1321528.
    """
    differences = paired_differences(a, b)
    n = len(differences)
    if n < 63 and 1 << n <= _EXACT:
        threshold = abs(float(differences.sum())) - SLACK * float(np.abs(differences).sum())
        bits = (np.arange(1 << n)[:, None] >> np.arange(n)) & 1
        return float((np.abs((1 - 2 * bits) @ differences) >= threshold).mean())
    return randomize_means(differences, samples=samples, rng=np.random.default_rng(seed)).p


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
