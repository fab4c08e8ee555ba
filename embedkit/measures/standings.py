"""Many systems on the same units: how sure one can be of each, of each difference, and of their order.

All systems are resampled together, so that differences are paired, and a sample is drawn once for all of them. A
system's *rank* is one more than the number of systems that are told to be better than it. So nobody stands behind a
system that it may well equal, and several share a rank; as they may be unlike in what they are told apart from,
"cannot be told apart" does not carry over from neighbour to neighbour.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedkit.core.errors import DataError
from embedkit.measures.bootstrap import SLACK, Bootstrap, Stratum
from embedkit.measures.corrections import holm
from embedkit.measures.statistics import Statistic, StatisticName, chunks, counts, statistic

Floats = NDArray[np.float64]
_FINER = 4  # samples for each of the smallest steps that the correction needs a p-value to take


@dataclass(frozen=True)
class Resampled:
    """M systems' scores, and what they would be over the same bootstrap samples of the units."""

    scores: Floats  # (M,)
    values: Floats  # (M, samples), NaN where a statistic is undefined
    strata: tuple[tuple[int, Floats], ...]  # of each set of n units: n, and the scores' covariance (M, M)

    def one(self, row: int) -> Bootstrap:
        """The score of one system."""
        strata = (Stratum(n, float(covariance[row, row])) for n, covariance in self.strata)
        return _bootstrap(float(self.scores[row]), self.values[row], tuple(strata))

    def difference(self, a: int, b: int) -> Bootstrap:
        """The score of `a` less that of `b`."""
        strata = (Stratum(n, max(0.0, float(c[a, a] + c[b, b] - 2 * c[a, b]))) for n, c in self.strata)
        return _bootstrap(float(self.scores[a] - self.scores[b]), self.values[a] - self.values[b], tuple(strata))


def resample_means(values: ArrayLike, *, samples: int, rng: np.random.Generator) -> Resampled:
    """Of the means of (M, n) values: n units, the same for all M systems."""
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise DataError(f"systems need one finite value a unit; found an array of shape {table.shape}")
    drawn = [counts(rng, rows, table.shape[1]) @ table.T for rows in chunks(samples, table.shape[1])]
    return _resampled(table.mean(axis=1), np.concatenate(drawn).T / table.shape[1], table.shape[1])


def resample_items(
    name: StatisticName, predictions: Sequence[ArrayLike], targets: ArrayLike, *, samples: int, rng: np.random.Generator
) -> Resampled:
    """Of a statistic of all n items: M systems' predictions of the same targets."""
    goal = np.asarray(targets, dtype=np.float64)
    systems: list[Statistic] = [statistic(name, one, goal) for one in predictions]
    parts = []
    for rows in chunks(samples, len(goal)):
        weights = counts(rng, rows, len(goal))
        parts.append([system(weights) for system in systems])
    whole = np.ones((1, len(goal)))
    scores = np.array([float(system(whole)[0]) for system in systems])
    return _resampled(scores, np.concatenate(parts, axis=1), len(goal))


def average(parts: Sequence[Resampled], weights: Sequence[float], drawn: Sequence[Hashable] | None = None) -> Resampled:
    """Of a weighted sum of scores. Parts that `drawn` gives one name have the same units, drawn together; all others
    are drawn independently: as `embedkit.measures.bootstrap.bootstrap_average` has it."""
    names = range(len(parts)) if drawn is None else drawn
    together: dict[Hashable, list[tuple[Resampled, float]]] = {}
    for name, part, weight in zip(names, parts, weights, strict=True):
        together.setdefault(name, []).append((part, weight))
    pairs = list(zip(parts, weights, strict=True))
    return Resampled(
        np.sum([w * part.scores for part, w in pairs], axis=0),
        np.sum([w * part.values for part, w in pairs], axis=0),
        tuple(stratum for block in together.values() for stratum in _strata(block)),
    )


def _strata(block: Sequence[tuple[Resampled, float]]) -> Sequence[tuple[int, Floats]]:
    """Of a weighted sum of parts with the same units."""
    if len(block) == 1:
        part, w = block[0]
        return [(n, w * w * covariance) for n, covariance in part.strata]
    units = block[0][0].strata[0][0]
    return [(units, _covariance(np.sum([w * part.values for part, w in block], axis=0), units))]


def p_values(systems: Resampled) -> dict[tuple[int, int], float]:
    """Of every pair, the first the better one: Holm-corrected p of no difference."""
    count = len(systems.scores)
    pairs = [
        (a, b) if systems.scores[a] >= systems.scores[b] else (b, a) for a in range(count) for b in range(a + 1, count)
    ]
    return dict(zip(pairs, holm([systems.difference(a, b).p for a, b in pairs]), strict=True))


def ranks(count: int, p: Mapping[tuple[int, int], float], confidence: float) -> list[int]:
    """Of every system, 1 + how many are told to be better: pairs (better, worse) with p below 1 - confidence."""
    told = [worse for (_, worse), value in p.items() if value < 1 - confidence]
    return [1 + told.count(row) for row in range(count)]


def samples_for(count: int, confidence: float) -> int:
    """Samples it takes for p-values fine enough to be told after a correction for all pairs of `count` systems."""
    return int(np.ceil(_FINER * count * (count - 1) / 2 / (1 - confidence)))


def _resampled(scores: Floats, values: Floats, units: int) -> Resampled:
    return Resampled(scores, values, ((units, _covariance(values, units)),))


def _covariance(values: Floats, units: int) -> Floats:
    """Of (M, samples) values, made unbiased: the bootstrap's divides by n."""
    whole = values[:, np.isfinite(values).all(axis=0)]
    covariance = np.atleast_2d(np.cov(whole)) if whole.shape[1] > 1 else np.zeros((len(values), len(values)))
    found: Floats = covariance * units / max(1, units - 1)
    return found


def _bootstrap(difference: float, values: Floats, strata: tuple[Stratum, ...]) -> Bootstrap:
    found = values[np.isfinite(values)]
    slack = SLACK * float(np.abs(found).max(initial=0.0))
    return Bootstrap(difference, found, strata, slack)
