"""The score above which a document is taken for relevant: the best for a wanted precision, and for F1.

Of a pair of arrays `(..., T)`, relevant and other pairs at or above T rising thresholds, each row is a weighting of
the queries: all of them, those of other folds, or a resample.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedkit.measures.pairs import Floats, Pairs

Counts = NDArray[np.float64]  # (..., T)
Places = NDArray[np.int64]  # (...)


@dataclass(frozen=True)
class Curve:
    """What lies at or above each threshold. The thresholds are the distinct scores of relevant documents, rising:
    between two of them precision only falls."""

    thresholds: Floats  # (T,)
    positives: Floats  # (T,) relevant pairs
    negatives: Floats  # (T,) other pairs

    @classmethod
    def of(cls, pairs: Pairs) -> "Curve":
        """The curve of all pairs."""
        high, low = pairs.sides
        thresholds = np.unique(high)
        above = (len(side) - np.searchsorted(side, thresholds, "left") for side in (high, low))
        positives, negatives = (counts.astype(np.float64) for counts in above)
        return cls(thresholds, positives, negatives)


def precision(positives: Counts, negatives: Counts) -> Counts:
    """Share of what is taken that is relevant; NaN where nothing is taken."""
    with np.errstate(invalid="ignore"):
        found: Counts = positives / (positives + negatives)
    return found


def f1(positives: Counts, negatives: Counts) -> Counts:
    """2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall; all are relevant above the first threshold
    or lie below it, so that the first entry of the last axis counts every relevant pair."""
    with np.errstate(invalid="ignore"):
        found: Counts = 2 * positives / (positives + negatives + positives[..., :1])
    return found


def for_precision(positives: Counts, negatives: Counts, wanted: float) -> Places:
    """(...) the lowest threshold whose precision is at least `wanted`, so that most is found; -1 if none reaches it."""
    fine = (precision(positives, negatives) >= wanted) & (positives > 0)
    return np.where(fine.any(axis=-1), fine.argmax(axis=-1), -1)


def for_f1(positives: Counts, negatives: Counts) -> Places:
    """(...) the threshold with the best F1, the lowest of equals."""
    found: Places = np.nan_to_num(f1(positives, negatives), nan=-1.0).argmax(axis=-1)
    return found
