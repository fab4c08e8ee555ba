"""The randomisation test: how large a difference chance alone makes, if the systems are two names for one.

Under that hypothesis the two values of a query are as likely the other way round. So the systems are swapped on random
queries and the difference is computed anew; p is the share of such differences at least as far from zero as the one
observed, which is counted among them: never 0.

Of a mean this flips the signs of the queries' differences: exact where the hypothesis holds, and, with many queries,
also where only the means are equal. A statistic of all items, like Spearman's correlation, is not so simple: the
predictions of two systems may be on different scales, and a mixture of scales correlates with nothing. Predictions are
first brought to one scale that leaves the statistic itself as it is: their ranks, for a statistic of ranks (spearman,
average_precision); mean 0 and variance 1, for pearson. The hypothesis is then that the systems are exchangeable after
such a recalibration. Ranks depend on all items, so the test is exact only as the items grow in number; simulated with
150 of them, its p-values were uniform, also where the statistics were equal but the systems of different kinds.

Reference: https://dl.acm.org/doi/10.1145/1321440.1321528 (Smucker et al., 2007); p-values that are never 0:
https://arxiv.org/abs/1603.05766 (Phipson & Smyth). The recalibration is embedkit's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedkit.measures.bootstrap import SLACK
from embedkit.measures.statistics import StatisticName, chunks, coins, ranks, statistic

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Randomization:
    """A difference, and its values with the systems swapped on random units."""

    difference: float
    values: Floats  # (samples,)
    slack: float = SLACK  # relative; rounding must not tell equal values apart

    @property
    def p(self) -> float:
        """Two-sided p-value of no difference."""
        count = int((np.abs(self.values) >= abs(self.difference) - self.slack).sum())
        return (count + 1) / (len(self.values) + 1)


def randomize_means(differences: Floats, *, samples: int, rng: np.random.Generator) -> Randomization:
    """Of the mean of n differences: random signs for them."""
    n = len(differences)
    flips = (coins(rng, rows, n) for rows in chunks(samples, n))
    values = (differences.sum() - 2 * np.concatenate([flip @ differences for flip in flips])) / n
    return Randomization(float(differences.mean()), values, SLACK * float(np.abs(differences).mean()))


def randomize_items(
    name: StatisticName, a: Floats, b: Floats, targets: Floats, *, samples: int, rng: np.random.Generator
) -> Randomization | None:
    """Of the statistic of a's predictions less that of b's. None if it is undefined.

    A swap after which it is undefined counts as one that makes the difference observed, which errs to the safe side.
    """
    n = len(targets)
    one_scale = _standard if name == "pearson" else ranks
    both = statistic(name, np.concatenate([one_scale(a), one_scale(b)]), np.concatenate([targets, targets]))

    def difference(kept: Floats) -> Floats:
        """`kept` (rows, n) is 1 where an item's predictions stay, 0 where they are swapped."""
        stay, go = np.concatenate([kept, 1 - kept], axis=1), np.concatenate([1 - kept, kept], axis=1)
        return both(stay) - both(go)

    observed = float(difference(np.ones((1, n)))[0])
    if math.isnan(observed):
        return None
    kept = (1 - coins(rng, rows, n) for rows in chunks(samples, 2 * n))  # the coins that flip a sign swap an item
    values = np.concatenate([difference(rows) for rows in kept])
    return Randomization(observed, np.where(np.isfinite(values), values, observed))


def randomize_average(parts: Sequence[Randomization], weights: Sequence[float]) -> Randomization:
    """Of a weighted sum of differences: tasks stay, their units are swapped, independently in each but for parts whose
    generators were in one state. Such parts must have the same units in the same order, as translations of one set
    have: the systems are then swapped on a unit in all of them or in none."""
    pairs = list(zip(parts, weights, strict=True))
    return Randomization(
        sum(w * part.difference for part, w in pairs),
        np.sum([w * part.values for part, w in pairs], axis=0),
        sum(abs(w) * part.slack for part, w in pairs),
    )


def _standard(values: Floats) -> Floats:
    deviation = float(values.std())
    standard: Floats = (values - values.mean()) / (deviation if deviation else 1.0)
    return standard
