"""Agreement of several signals on a query's own scale."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from embedkit.mining.filters.base import Candidates, Doubles, Filter, Mask


class Agreement(Filter):
    """Drop candidates that several signals together put far above the query's other candidates.

        z_t(n) = (s_t(n) − mean_t) / std_t        keep n  iff  mean over t of z_t(n) ≤ threshold

    Mean and standard deviation are over the query's eligible candidates; a signal that hardly varies among them (by
    1e-6 or less) says nothing and counts 0. So no positive's score decides alone, as in a margin, and a signal's scale
    does not matter. Relevant documents stand out by words, meaning and likeness to known positives at once; what is
    hard by one of them only is kept. A NaN score keeps nothing. This rule is ours.
    """

    kind: Literal["agreement"] = "agreement"
    of: Annotated[tuple[str, ...], Field(min_length=1)] = ("encoder", "bm25", "positive_similarity")
    threshold: float = 0.75

    @property
    def signals(self) -> tuple[str, ...]:
        return self.of

    def __call__(self, candidates: Candidates) -> Mask:
        total = np.zeros(candidates.rows.shape)
        for name in self.of:
            total += _standardised(candidates.signal(name).astype(np.float64), candidates.eligible)
        mask: Mask = total / len(self.of) <= self.threshold
        return mask

    def suspects(self, candidates: Candidates) -> Mask:
        return ~self(candidates)


def _standardised(scores: Doubles, eligible: Mask) -> Doubles:
    """(Q, K) by the mean and standard deviation of each row's eligible, scored columns."""
    scored = eligible & ~np.isnan(scores)
    n = np.maximum(scored.sum(axis=1, keepdims=True), 1)
    mean = _sums(np.where(scored, scores, 0.0)) / n
    spread = np.sqrt(_sums(np.where(scored, (scores - mean) ** 2, 0.0)) / n)
    deviations = np.where(spread > 1e-6, scores - mean, scores * 0.0)  # NaN stays NaN
    return np.asarray(deviations / np.where(spread > 1e-6, spread, 1.0))


def _sums(values: Doubles) -> Doubles:
    """(Q, 1) sums from left to right: empty columns at the end, of which blocks differ, change no bit."""
    return np.cumsum(values, axis=1)[:, -1:] if values.shape[1] else np.zeros((len(values), 1))
