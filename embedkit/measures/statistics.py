"""Statistics of all items of a task together, over many weighted samples of the items at once.

A task such as STS is scored by one number of all its items, so there are no values per item to resample: the statistic
itself must be computed anew for every sample. A sample is a row of weights, how often each item is in it. Items are
sorted once; a sample then costs running sums over that order, not a sort of its own.

    pearson             correlation of predictions and targets
    spearman            Pearson correlation of their ranks, equal values sharing the mean of their ranks
    average_precision   Σ (R_i - R_{i-1}) P_i down the distinct predictions, best first; targets are 0 and 1

They equal SciPy's `pearsonr` and `spearmanr` and scikit-learn's `average_precision_score` on the sample written out.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedkit.core.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
StatisticName = Literal["pearson", "spearman", "average_precision"]
Statistic = Callable[[Floats], Floats]  # weights (samples, items) -> values (samples,), NaN where undefined
STATISTICS: Final[tuple[str, ...]] = get_args(StatisticName)

_FLAT: Final = 1e-12  # relative; a variance below it is rounding


def statistic(name: StatisticName, predictions: ArrayLike, targets: ArrayLike) -> Statistic:
    """The statistic of these n items as a function of weights (samples, n), whole numbers from 0.

    NaN where it is undefined: a constant column, or no positive. Raises `DataError` if the columns do not pair, are
    empty or not finite, or if average precision is asked for with targets that are not 0 or 1.
    """
    x, y = _column(predictions), _column(targets)
    if x.shape != y.shape or not x.size:
        raise DataError(f"a statistic needs one target an item; found {x.size} predictions, {y.size} targets")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise DataError("a statistic needs finite predictions and targets; found NaN or infinity")
    return _KINDS[name](x, y)


def value(name: StatisticName, predictions: ArrayLike, targets: ArrayLike) -> float:
    """The statistic of the items as they are; NaN where it is undefined."""
    return float(statistic(name, predictions, targets)(np.ones((1, np.size(predictions))))[0])


def counts(rng: np.random.Generator, rows: int, items: int) -> Floats:
    """How often each item is in each of `rows` bootstrap samples of as many items as there are: (rows, items)."""
    places = rng.integers(0, items, (rows, items)) + items * np.arange(rows)[:, None]
    found: Floats = np.bincount(places.ravel(), minlength=rows * items).reshape(rows, items).astype(np.float64)
    return found


def coins(rng: np.random.Generator, rows: int, items: int) -> Floats:
    """A fair coin for each: (rows, items) of 0 and 1. The same in one call as in several, row after row."""
    words = rng.integers(0, 1 << 32, (rows, -(-items // 32)), dtype=np.uint32).astype("<u4")
    return np.unpackbits(words.view(np.uint8), axis=1, count=items).astype(np.float64)


def chunks(samples: int, width: int, cells: int = 1 << 18) -> Iterator[int]:
    """Numbers of rows that add up to `samples`, few enough at a time for the processor's cache."""
    size = max(1, cells // max(1, width))
    for start in range(0, samples, size):
        yield min(size, samples - start)


def ranks(values: ArrayLike) -> Floats:
    """Ranks from 1, equal values sharing the mean of theirs."""
    x = _column(values)
    found: Floats = _midranks(*_ordered(x), np.ones((1, x.size)))[0] + 0.5
    return found


def _pearson(x: Floats, y: Floats) -> Statistic:
    x, y = x - x.mean(), y - y.mean()  # near zero, the sums of squares below lose no digits
    columns = np.stack([x, y, x * x, y * y, x * y], axis=1)

    def of(weights: Floats) -> Floats:
        n = weights.sum(axis=1)
        mx, my, xx, yy, xy = (weights @ columns).T / n
        return _correlation(xy - mx * my, xx - mx * mx, yy - my * my, xx, yy)

    return of


def _spearman(x: Floats, y: Floats) -> Statistic:
    by_x, by_y = _ordered(x), _ordered(y)

    def of(weights: Floats) -> Floats:
        middle = weights.sum(axis=1, keepdims=True) / 2  # the mean of the ranks, whatever the ties
        rx, ry = _midranks(*by_x, weights) - middle, _midranks(*by_y, weights) - middle
        weighted = weights * rx
        xy, xx = np.einsum("ij,ij->i", weighted, ry), np.einsum("ij,ij->i", weighted, rx)
        yy = np.einsum("ij,ij,ij->i", weights, ry, ry)
        size = middle[:, 0] ** 3
        return _correlation(xy, xx, yy, size, size)

    return of


def _average_precision(x: Floats, y: Floats) -> Statistic:
    if not np.isin(y, (0.0, 1.0)).all():
        raise DataError(f"average precision needs targets of 0 and 1; found {y[~np.isin(y, (0.0, 1.0))][0]:g}")
    order, starts, run = _ordered(-x)
    hits = order[y[order] > 0]  # the positives, best first
    if not hits.size:
        return lambda weights: np.full(len(weights), np.nan)
    groups, first = np.unique(run[hits], return_index=True)  # runs with a positive, and the first positive in each
    ends = np.append(starts, len(x))[groups + 1]
    until, before = order[: ends[-1]], np.concatenate([[0], ends[:-1]])

    def of(weights: Floats) -> Floats:
        found = np.add.reduceat(np.take(weights, hits, axis=1), first, axis=1)
        seen = np.cumsum(np.add.reduceat(np.take(weights, until, axis=1), before, axis=1), axis=1)
        so_far = np.cumsum(found, axis=1)
        total = so_far[:, -1]
        precision = so_far / np.maximum(seen, 1.0)  # no item seen yet: no positive found either
        return np.asarray(np.einsum("ij,ij->i", found, precision) / np.where(total > 0, total, np.nan))

    return of


_KINDS: Final[Mapping[str, Callable[[Floats, Floats], Statistic]]] = {
    "pearson": _pearson,
    "spearman": _spearman,
    "average_precision": _average_precision,
}


def _correlation(xy: Floats, xx: Floats, yy: Floats, x_size: Floats, y_size: Floats) -> Floats:
    """Covariance over the root of both variances; NaN where a variance is nothing beside the size of its values."""
    flat = (xx <= _FLAT * x_size) | (yy <= _FLAT * y_size)
    product = np.where(flat, np.nan, xx * yy)
    return np.clip(xy / np.sqrt(product), -1.0, 1.0)


def _ordered(values: Floats) -> tuple[Ints, Ints, Ints]:
    """The order that sorts values, where in it each run of equal ones starts, and the run each value is in."""
    order = np.argsort(values, kind="stable")
    new = np.diff(values[order], prepend=np.nan) != 0  # NaN is unequal to anything: the first starts a run
    run = np.empty(len(values), dtype=np.intp)
    run[order] = np.cumsum(new) - 1
    return order, np.flatnonzero(new), run


def _midranks(order: Ints, starts: Ints, run: Ints, weights: Floats) -> Floats:
    """Of every item, the weight below it and half the weight of its equals: its rank less a half."""
    heavy = np.take(weights, order, axis=1)
    if len(starts) < len(order):
        heavy = np.add.reduceat(heavy, starts, axis=1)
    middles = np.cumsum(heavy, axis=1)
    heavy *= 0.5
    middles -= heavy
    return np.take(middles, run, axis=1)


def _column(values: ArrayLike) -> Floats:
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1:
        raise DataError(f"a statistic needs one value an item; found an array of shape {column.shape}")
    return column
