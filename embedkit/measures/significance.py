"""Is one system better than another on the same queries, or was it luck with the queries?"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedkit.core.errors import DataError

_CELLS: Final = 1 << 22  # random numbers drawn at a time
_EXACT: Final = 1 << 16  # sign patterns up to which the randomisation test tries them all
_SLACK: Final = 1e-12  # relative; rounding must not tell equal means apart

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
    """Percentile interval of the mean of a - b over resampled queries; `a` and `b` hold one value a query, aligned.

    p is twice the share of resampled means on the rarer side of zero, the observed sample counted among them:
    p = min(1, 2 (min(#{m* <= 0}, #{m* >= 0}) + 1) / (samples + 1)). So it is never 0, and it agrees with the interval:
    below 1 - confidence where that excludes zero. Below about 20 queries both are too sure of themselves.
    Raises `DataError` if `a` and `b` do not pair, are empty or not finite.
    Reference: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 16;
    https://aclanthology.org/W04-3250/.
    """
    differences = _differences(a, b)
    rng, n = np.random.default_rng(seed), len(differences)
    means = np.concatenate([differences[rng.integers(0, n, (rows, n))].mean(axis=1) for rows in _chunks(samples, n)])
    slack = _SLACK * float(np.abs(differences).max())
    below, above = int((means <= slack).sum()), int((means >= -slack).sum())
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    p = min(1.0, 2 * (min(below, above) + 1) / (samples + 1))
    return Interval(float(differences.mean()), float(low), float(high), p)


def paired_randomization(a: ArrayLike, b: ArrayLike, *, samples: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value of Fisher's randomisation test on the mean of a - b, `a` and `b` aligned by query.

    If the systems do not differ, each query's difference is as likely to have the other sign. p is the share of sign
    patterns whose mean is at least as far from zero as the observed one: of all 2^n patterns where those are few, else
    of `samples` random ones, the observed one counted among them: (count + 1) / (samples + 1).
    Raises `DataError` as `paired_bootstrap` does. Reference: https://dl.acm.org/doi/10.1145/1321440.1321528.
    """
    differences = _differences(a, b)
    n = len(differences)
    threshold = abs(float(differences.sum())) - _SLACK * float(np.abs(differences).sum())
    if n < 63 and 1 << n <= _EXACT:
        bits = (np.arange(1 << n)[:, None] >> np.arange(n)) & 1
        return float((np.abs((1 - 2 * bits) @ differences) >= threshold).mean())
    rng, count = np.random.default_rng(seed), 0
    for rows in _chunks(samples, n):
        signs = 1.0 - 2.0 * rng.integers(0, 2, (rows, n))
        count += int((np.abs(signs @ differences) >= threshold).sum())
    return (count + 1) / (samples + 1)


def _differences(a: ArrayLike, b: ArrayLike) -> Floats:
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise DataError(f"a paired test needs one value a query from each system; found {first.shape}, {second.shape}")
    if not first.size:
        raise DataError("a paired test needs at least one query; found none")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise DataError("a paired test needs finite values; found NaN or infinity")
    return first - second


def _chunks(samples: int, width: int) -> Iterator[int]:
    """Numbers of rows that add up to `samples`, few enough at a time for memory."""
    size = max(1, _CELLS // width)
    for start in range(0, samples, size):
        yield min(size, samples - start)
