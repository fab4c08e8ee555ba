"""Scores as probabilities: Platt scaling, and how far probabilities are from what comes true.

A cosine is no probability. p = 1 / (1 + e^-(s/τ + b)) makes one of it: the temperature τ says how sharply relevance
rises with the score, the bias b where. Neither changes the order of scores, nor then any ranking or AUC.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from embedkit.core.errors import DataError
from embedkit.measures.pairs import Codes, Flags, Floats, Pairs

BINS: Final = 15  # as in the paper that made the ECE known
_CELLS: Final = 4096  # scores that lie in one of so many cells are fitted as that many of their mean


@dataclass(frozen=True)
class Scaling:
    """p = 1 / (1 + e^-(s/τ + b)); τ is negative if scores fall with relevance, infinite if they do not tell it."""

    temperature: float
    bias: float

    def probabilities(self, scores: Floats) -> Floats:
        """What each score means."""
        from scipy.special import expit

        found: Floats = expit(scores / self.temperature + self.bias)
        return found


def fit(scores: Floats, relevant: Flags, weights: Floats | None = None) -> Scaling:
    """The scaling under which these judgements are likeliest, Platt's way: rows may count as often as their weight.

    Minimises -Σ w [t ln p + (1 - t) ln(1 - p)] with the targets t = (n⁺ + 1) / (n⁺ + 2) for relevant documents and
    1 / (n⁻ + 2) for others instead of 1 and 0, which keeps τ from 0 where one threshold parts the two without error.
    Raises `DataError` unless there are both.
    Reference: Platt, Probabilistic outputs for support vector machines, 1999, section 2.2.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    w = np.ones(len(scores)) if weights is None else weights
    n_positives, n_negatives = float(w[relevant].sum()), float(w[~relevant].sum())
    if not n_positives or not n_negatives:
        raise DataError(
            f"a scaling is fitted to relevant and other documents; found {n_positives:.0f}, {n_negatives:.0f}"
        )
    w = w / (n_positives + n_negatives)
    center = float(w @ scores)
    spread = float(np.sqrt(w @ (scores - center) ** 2))
    x = (scores - center) / spread if spread > 0 else np.zeros_like(scores)
    targets = np.where(relevant, (n_positives + 1) / (n_positives + 2), 1 / (n_negatives + 2))

    def loss(at: Floats) -> tuple[float, Floats]:
        z = at[0] * x + at[1]
        gap = w * (expit(z) - targets)
        return float(w @ (np.logaddexp(0.0, z) - targets * z)), np.array([gap @ x, gap.sum()])

    def curvature(at: Floats) -> Floats:
        p = expit(at[0] * x + at[1])
        v = w * p * (1 - p)
        return np.array([[v @ x**2, v @ x], [v @ x, v.sum()]])

    start = np.array([0.0, np.log((n_positives + 1) / (n_negatives + 1))])
    slope, bias = minimize(loss, start, jac=True, hess=curvature, method="trust-exact", options={"gtol": 1e-10}).x
    slope = slope / spread if spread > 0 else 0.0
    return Scaling(float(np.divide(1.0, slope)) if slope else np.inf, float(bias - slope * center))


def folds_of(queries: int, *, folds: int, seed: int) -> Codes:
    """(Q,) the fold of each query, at random, of sizes that differ by one at most."""
    return np.random.default_rng(seed).permutation(np.arange(queries) % folds)


def cross_fit(pairs: Pairs, folds: Codes) -> Floats:
    """(n,) probabilities, each by the scaling fitted to the queries of all other folds: no query calibrates itself.

    Without this, a calibration error would be measured on what was fitted to have none.
    """
    counts, means = _cells(pairs, folds)
    kinds = np.repeat([False, True], _CELLS)
    temperature, bias = np.empty(len(counts)), np.empty(len(counts))
    for fold in range(len(counts)):
        others = np.delete(np.arange(len(counts)), fold)
        weights = counts[others].sum(axis=0)
        used = weights > 0
        centers = (counts[others] * means[others]).sum(axis=0)[used] / weights[used]
        found = fit(centers, kinds[used], weights[used])
        temperature[fold], bias[fold] = found.temperature, found.bias
    own = folds[pairs.queries]
    return Scaling(1.0, 0.0).probabilities(pairs.scores / temperature[own] + bias[own])


def fit_pairs(pairs: Pairs) -> Scaling:
    """The scaling of all pairs, to be used on scores to come."""
    counts, means = _cells(pairs, np.zeros(pairs.count, np.int64))
    used = counts[0] > 0
    return fit(means[0][used], np.repeat([False, True], _CELLS)[used], counts[0][used])


def _cells(pairs: Pairs, folds: Codes) -> tuple[Floats, Floats]:
    """(K, 2 cells) how many scores of other and of relevant documents lie in each cell, and their means."""
    low, high = float(pairs.scores.min()), float(pairs.scores.max())
    scale = _CELLS / (high - low) if high > low else 0.0
    cell = np.minimum(((pairs.scores - low) * scale).astype(np.int64), _CELLS - 1)
    width = 2 * _CELLS
    cell += (folds * width)[pairs.queries] + _CELLS * pairs.relevant
    size = (int(folds.max()) + 1) * width
    counts = np.bincount(cell, minlength=size)
    sums = np.bincount(cell, pairs.scores, minlength=size)
    return counts.reshape(-1, width).astype(np.float64), (sums / np.maximum(counts, 1)).reshape(-1, width)


@dataclass(frozen=True)
class Reliability:
    """Pairs in bins of their probability: what was promised and what came true. Bins that nothing is in are left out.

    ECE = Σ_b n_b / n · |share relevant − mean probability|. It is positive even of perfect probabilities, whose bins
    scatter around their promise: `noise` is what it would then be on average, by the scatter of whole queries.
    Reference: https://arxiv.org/abs/1706.04599, eq. 3 (Guo et al. 2017). `noise` is ours.
    """

    counts: Codes  # (b,)
    probabilities: Floats  # (b,) mean of those promised
    shares: Floats  # (b,) of relevant pairs
    noise: float

    @property
    def ece(self) -> float:
        """Expected calibration error."""
        return float(self.counts @ np.abs(self.shares - self.probabilities)) / float(self.counts.sum())


def reliability(
    probabilities: Floats, relevant: Flags, queries: Codes, *, by: Literal["width", "mass"], bins: int = BINS
) -> Reliability:
    """Bins of equal width on [0, 1], or of equal mass: at the quantiles, so that all hold about as many pairs.

    `queries` are numbered from 0. Equal width is the usual ECE; where few pairs are relevant nearly all lie in its
    first bin. Reference: https://arxiv.org/abs/1706.04599, section 2; https://arxiv.org/abs/1508.05154 (equal mass).
    """
    inner = np.arange(1, bins) / bins
    edges = inner if by == "width" else np.quantile(probabilities, inner)
    own = np.searchsorted(edges, probabilities, "left")
    cell, size = queries * bins + own, (int(queries.max()) + 1) * bins
    sizes = np.bincount(cell, minlength=size).reshape(-1, bins)
    gaps = np.bincount(cell, relevant - probabilities, minlength=size).reshape(-1, bins)
    counts = sizes.sum(axis=0)
    used = counts > 0
    promised = np.bincount(own, probabilities, minlength=bins)[used] / counts[used]
    shares = np.bincount(own[relevant], minlength=bins)[used] / counts[used]
    scatter = gaps[:, used] - sizes[:, used] * (shares - promised)
    noise = float(np.sqrt(2 / np.pi * (scatter**2).sum(axis=0)).sum()) / len(probabilities)
    return Reliability(counts[used], promised, shares, noise)


@dataclass(frozen=True)
class Brier:
    """Mean squared error of probabilities and what it is made of.

    score = reliability - resolution + uncertainty + within_bins: the squared gaps of the reliability diagram; how far
    the bins' shares lie from the share of all; the score of promising that share always; and what the bins hide.
    Reference: https://doi.org/10.1175/1520-0450(1973)012<0595:ANVPOT>2.0.CO;2 (Murphy 1973); Stephenson, Coelho &
    Jolliffe, Two extra components in the Brier score decomposition, 2008 (their sum is `within_bins`).
    """

    score: float
    reliability: float
    resolution: float
    uncertainty: float
    within_bins: float

    @property
    def skill(self) -> float:
        """1 for a perfect promise, 0 for promising the share of all: 1 - score / uncertainty."""
        return 1 - self.score / self.uncertainty


def brier(probabilities: Floats, relevant: Flags, bins: Reliability) -> Brier:
    """The Brier score, decomposed over the bins of a reliability diagram of the same pairs."""
    base = float(relevant.mean())
    weights = bins.counts / bins.counts.sum()
    score = float(((probabilities - relevant) ** 2).mean())
    reliable = float(weights @ (bins.shares - bins.probabilities) ** 2)
    resolved = float(weights @ (bins.shares - base) ** 2)
    uncertain = base * (1 - base)
    return Brier(score, reliable, resolved, uncertain, score - (reliable - resolved + uncertain))
