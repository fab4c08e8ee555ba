"""Do two values of the same rows go together more than by chance, and in which rows do both stand out?

The null hypothesis everywhere: within a stratum (a source, a range of lengths), which row has which second value is a
matter of chance. So the second values may be shuffled there, and what they give is what chance gives.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedkit.core.errors import DataError

Rows = NDArray[np.int64]
Doubles = NDArray[np.float64]
_CELLS: Final = 1 << 21  # shuffled at a time
_SLACK: Final = 1e-9  # relative; rounding must not tell equal sums apart


@dataclass(frozen=True)
class Table:
    """Rows of which the first holds, the second, and both; summed over strata with what chance expects."""

    rows: int
    first: int
    second: int
    both: int
    expected: float  # of `both`
    p: float  # chance of so many or more

    @property
    def log_odds(self) -> float:
        """Log of the odds ratio of the table, 1/2 added to each cell (Haldane and Anscombe)."""
        cells = (self.both, self.first - self.both, self.second - self.both)
        a, b, c = (cell + 0.5 for cell in cells)
        return float(np.log(a * (self.rows - sum(cells) + 0.5) / (b * c)))

    @property
    def chi_square(self) -> float:
        """Pearson's statistic of the table without strata; 0 if a margin is empty."""
        n, x, y = self.rows, self.first, self.second
        spread = x * (n - x) * y * (n - y)
        return float(n * (n * self.both - x * y) ** 2 / spread) if spread else 0.0


def table(first: ArrayLike, second: ArrayLike, strata: ArrayLike) -> Table:
    """How often both hold, and the exact one-sided p-value given the margins of every stratum.

    Shuffled within a stratum of n rows, `both` is hypergeometric; over strata their sum, whose distribution is the
    convolution. Of one stratum it is Fisher's exact test. Reference: https://doi.org/10.2307/2340521; for strata Gart,
    Biometrika 57 (1970) 471-475.
    """
    from scipy.stats import hypergeom

    x, y, groups = (np.asarray(values) for values in (first, second, strata))
    _check(x, y, groups)
    x, y = x.astype(np.bool_), y.astype(np.bool_)
    chances, expected = np.ones(1), 0.0
    for group in np.unique(groups):
        own = groups == group
        n, a, b = int(own.sum()), int(x[own].sum()), int(y[own].sum())
        chances = np.convolve(chances, hypergeom.pmf(np.arange(min(a, b) + 1), n, a, b))
        expected += a * b / n
    both = int((x & y).sum())
    return Table(len(x), int(x.sum()), int(y.sum()), both, expected, float(min(1.0, chances[both:].sum())))


def together(first: ArrayLike, second: ArrayLike, strata: ArrayLike, *, samples: int = 2000, seed: int = 0) -> float:
    """One-sided p-value of Σ first · second being as large by chance: (shuffles as large + 1) / (samples + 1)."""
    x, y, groups = np.asarray(first, np.float64), np.asarray(second, np.float64), np.asarray(strata)
    _check(x, y, groups)
    if not len(x):
        return 1.0
    observed = float(x @ y)
    least = observed - _SLACK * float(np.abs(x) @ np.abs(y))
    count = sum(int((shuffled @ x >= least).sum()) for shuffled in shuffles(y, groups, samples, seed))
    return (count + 1) / (samples + 1)


def shuffles(values: Doubles, strata: ArrayLike, samples: int, seed: int) -> Iterator[Doubles]:
    """(some, n) values shuffled within strata, `samples` rows in all."""
    rng, groups = np.random.default_rng(seed), np.asarray(strata)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    size = max(1, _CELLS // max(len(values), 1))
    for start in range(0, samples, size):
        drawn = np.empty((min(size, samples - start), len(values)))
        for own in members:
            drawn[:, own] = rng.permuted(np.tile(values[own], (len(drawn), 1)), axis=1)
        yield drawn


def rank_p(values: ArrayLike, strata: ArrayLike) -> Doubles:
    """(n,) share of the rows of its stratum whose value is at least a row's own, ties in the middle: small stands out.

    p = (rows above + (rows equal + 1) / 2) / (n + 1), so it is in (0, 1) and its mean is 1/2.
    """
    from scipy.stats import rankdata

    x, groups = np.asarray(values, np.float64), np.asarray(strata)
    found = np.empty(len(x))
    for group in np.unique(groups):
        own = groups == group
        found[own] = rankdata(-x[own], method="average") / (own.sum() + 1)
    return found


def joint_p(first: Doubles, second: Doubles) -> Doubles:
    """(n,) Fisher's combination of two p-values each: chance that the product of two is as small, a b (1 - ln(a b)).

    Reference: Fisher, Statistical Methods for Research Workers, 1932, section 21.1.
    """
    product = np.maximum(first * second, np.finfo(np.float64).tiny)
    return np.asarray(product * (1 - np.log(product)), dtype=np.float64)


@dataclass(frozen=True)
class Excess:
    """Whether more rows than by chance stand out in both values."""

    statistic: float  # the smallest binomial tail, as -log10
    rows: int  # the smallest joint p-values, so many, that are most out of the ordinary together
    p: float


def excess(
    first: Doubles, second: Doubles, strata: ArrayLike, *, most: float = 0.05, samples: int = 1000, seed: int = 0
) -> Excess:
    """Are there too many small joint p-values among n rows with p-values `first` and `second`?

    With sorted joint p-values p_1 ≤ p_2 ≤ ..., the statistic is that of Berk and Jones,

        max over i ≤ most · n of -log10 P(Binomial(n, p_i) ≥ i),

    and its p-value comes from shuffling `second` within strata, so it holds whatever the margins are. It asks no
    question about how many rows there are: a few that are far out count as well as many that are somewhat so.
    Reference: https://doi.org/10.1007/BF00533250.
    """
    groups = np.asarray(strata)
    _check(first, second, groups)
    n = len(first)
    if not n:
        return Excess(0.0, 0, 1.0)
    deepest = max(1, int(most * n))
    observed, rows = _berk_jones(joint_p(first, second), deepest)
    count = 0
    for drawn in shuffles(second, groups, samples, seed):
        count += sum(_berk_jones(joint_p(first, row), deepest)[0] >= observed - _SLACK for row in drawn)
    return Excess(observed, rows, (count + 1) / (samples + 1))


def _berk_jones(p: Doubles, deepest: int) -> tuple[float, int]:
    from scipy.special import betainc

    smallest = np.sort(np.partition(p, deepest - 1)[:deepest])
    places = np.arange(1, deepest + 1)
    tails = np.maximum(betainc(places, len(p) - places + 1, smallest), 1e-300)  # P(Binomial(n, p) >= i)
    best = int(np.argmin(tails))
    return float(-np.log10(tails[best])), best + 1


def _check(first: NDArray[np.generic], second: NDArray[np.generic], strata: NDArray[np.generic]) -> None:
    if first.ndim != 1 or not first.shape == second.shape == strata.shape:
        shapes = first.shape, second.shape, strata.shape
        raise DataError(f"two values and a stratum a row; found {shapes[0]}, {shapes[1]}, {shapes[2]}")
