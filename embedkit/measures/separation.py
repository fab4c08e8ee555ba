"""How well one threshold for all queries tells relevant documents from others: the ROC curve and the area under it.

A ranking metric compares the documents of one query. Whoever must decide whether a document answers at all compares
scores across queries, and there a model may fail whose rankings are perfect: InfoNCE does not change when all scores
of a query are shifted, so that nothing in training makes scores of different queries comparable. The pooled AUC sees
such shifts, the AUC of single queries does not.

Reference: https://arxiv.org/abs/2510.00137 (pooled AUC over each query's positives and its best non-positives).
"""

from dataclasses import dataclass

import numpy as np

from embedkit.measures.pairs import Codes, Floats, Pairs


@dataclass(frozen=True)
class Roc:
    """A ROC curve: what is above each threshold, the highest threshold (nothing is above it) first."""

    thresholds: Floats  # (t,) falling; the first is infinite
    false_positive_rate: Floats  # (t,) share of the non-relevant pairs that score at least the threshold
    true_positive_rate: Floats  # (t,) share of the relevant ones


def auc(positives: Floats, negatives: Floats) -> float:
    """Chance that a positive scores higher than a negative, over all pairs of one of each, ties counted half.

    AUC = U / (n⁺ n⁻) with U the Mann-Whitney statistic; both are rising arrays and not empty. The paper's indicator
    counts ties as 0; a half is what makes the AUC of a constant score 0.5.
    Reference: https://doi.org/10.1148/radiology.143.1.7063747 (Hanley & McNeil 1982); arXiv 2510.00137, section 3.
    """
    return float(beaten(positives, negatives).sum()) / (len(positives) * len(negatives))


def beaten(positives: Floats, negatives: Floats) -> Floats:
    """How many negatives each positive scores above, ties counted half; both arrays are rising."""
    below = np.searchsorted(negatives, positives, "left")
    return (below + np.searchsorted(negatives, positives, "right")) / 2.0


def auc_by_query(pairs: Pairs) -> Floats:
    """(Q,) AUC of each query on its own pairs, ties counted half; NaN where all of them are relevant."""
    queries, scores = pairs.queries, pairs.scores
    starts = np.r_[True, (queries[1:] != queries[:-1]) | (scores[1:] != scores[:-1])]
    tie = np.cumsum(starts) - 1  # pairs of one query with one score stand together
    first = np.flatnonzero(starts)
    owner = queries[first]
    positives = np.bincount(tie[pairs.relevant], minlength=len(first))
    negatives = np.diff(np.r_[first, len(queries)]) - positives
    n_positives = np.bincount(queries[pairs.relevant])
    n_negatives = np.bincount(queries) - n_positives
    up_to = np.cumsum(negatives) - (np.cumsum(n_negatives) - n_negatives)[owner]  # of the query, this tie's included
    wins = np.bincount(owner, positives * (n_negatives[owner] - up_to + negatives / 2))
    with np.errstate(invalid="ignore"):
        return wins / (n_positives * n_negatives)


def roc(positives: Floats, negatives: Floats, *, points: int | None = None) -> Roc:
    """The ROC curve of two rising arrays; of `points` thresholds at most, evenly spaced among the scores of either."""
    if points is None or points >= len(positives) + len(negatives) + 1:
        thresholds = np.union1d(positives, negatives)
    else:
        half = (points - 1) // 2
        thresholds = np.union1d(spread(positives, half), spread(negatives, half))
    thresholds = np.r_[np.inf, thresholds[::-1]]
    return Roc(thresholds, _above(negatives, thresholds), _above(positives, thresholds))


def spread(rising: Floats, count: int) -> Floats:
    """`count` of these scores, the least and the greatest among them and the others at even ranks; all, if fewer."""
    if len(rising) <= count:
        return rising
    places: Codes = np.linspace(0, len(rising) - 1, count).round().astype(np.int64)
    return rising[places]


def without_shift(pairs: Pairs) -> Pairs:
    """The same pairs, each score less the mean score of its query's non-relevant documents.

    What the pooled AUC of these has over that of the scores themselves is what shifts between queries cost. Our own
    diagnosis, not the paper's. Queries without non-relevant documents are left out.
    """
    others = np.bincount(pairs.queries, ~pairs.relevant)
    sums = np.bincount(pairs.queries, np.where(pairs.relevant, 0.0, pairs.scores))
    kept = (others > 0)[pairs.queries]
    means = sums / np.maximum(others, 1)
    codes = (np.cumsum(others > 0) - 1)[pairs.queries[kept]]
    return Pairs(codes, (pairs.scores - means[pairs.queries])[kept], pairs.relevant[kept])


def variance_between(pairs: Pairs) -> float:
    """Share of the variance of the non-relevant documents' scores that lies between queries, from 0 to 1 (η²).

    0 if all queries' scores lie alike, as one threshold for all would need; 1 if they do not overlap.
    Reference: Fisher, Statistical Methods for Research Workers, 1925 (the correlation ratio).
    """
    queries, scores = pairs.queries[~pairs.relevant], pairs.scores[~pairs.relevant]
    counts, deviations = np.bincount(queries), scores - scores.mean()
    sums = np.bincount(queries, deviations)
    total = float(deviations @ deviations)
    between = float((sums[counts > 0] ** 2 / counts[counts > 0]).sum())
    return min(1.0, between / total) if total > 0 else 0.0


def _above(rising: Floats, thresholds: Floats) -> Floats:
    return 1.0 - np.searchsorted(rising, thresholds, "left") / len(rising)
