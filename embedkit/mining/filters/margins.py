"""Filters that hold a candidate's score against its query's positives, its rank or a fixed score."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from embedkit.mining.filters.base import Candidates, Doubles, Filter, Mask, PositiveReference


class PercentOfPositive(Filter):
    """Keep candidates that score at most `ratio` of the positive (TopK-PercPos).

        keep n  iff  s(n) ≤ p − (1 − ratio) · |p|

    For p ≥ 0 that is ratio · p. For p < 0, where ratio · p would lie above the positive itself, it is below it all the
    same. The paper's inequality is strict; they differ where scores are equal to the threshold, which is kept here as
    sentence-transformers keeps it. A NaN score, or a query without a positive's score, keeps nothing. Near-duplicate
    corpora need 0.8 to 0.9. Reference: https://arxiv.org/abs/2407.15831, section 4.1.
    """

    kind: Literal["percent_of_positive"] = "percent_of_positive"
    ratio: Annotated[float, Field(gt=0, le=1)] = 0.95
    reference: PositiveReference = "min"
    signal: str = "encoder"

    @property
    def signals(self) -> tuple[str, ...]:
        return (self.signal,)

    def __call__(self, candidates: Candidates) -> Mask:
        positive = candidates.reference(self.signal, self.reference)
        threshold = positive - (1 - self.ratio) * np.abs(positive)
        return candidates.signal(self.signal).astype(np.float64) <= threshold[:, None]

    def suspects(self, candidates: Candidates) -> Mask:
        return ~self(candidates)


class MarginToPositive(Filter):
    """Keep candidates that score at least `margin` less than the positive (TopK-MarginPos).

        keep n  iff  s(n) ≤ p − margin

    For unbounded scores (logits, dot products), where a ratio has no meaning. Strict in the paper, see
    `PercentOfPositive`. NaN keeps nothing. Reference: https://arxiv.org/abs/2407.15831, section 4.1.
    """

    kind: Literal["margin_to_positive"] = "margin_to_positive"
    margin: NonNegativeFloat = 0.05
    reference: PositiveReference = "min"
    signal: str = "encoder"

    @property
    def signals(self) -> tuple[str, ...]:
        return (self.signal,)

    def __call__(self, candidates: Candidates) -> Mask:
        threshold = candidates.reference(self.signal, self.reference) - self.margin
        return candidates.signal(self.signal).astype(np.float64) <= threshold[:, None]

    def suspects(self, candidates: Candidates) -> Mask:
        return ~self(candidates)


class Judge(Filter):
    """Drop candidates that a judge finds about as relevant as the positive, or more (UniME-V2).

        drop n  iff  σ(s(n)) > σ(p) − beta

    s is the raw logit of a cross-encoder, or logit(yes) − logit(no) of a language model asked whether the document
    meets the query; with `sigmoid: false` it is a probability already. The authors have one positive a query; of
    several, `reference` says which. NaN keeps nothing. Their remedies for queries with few negatives left are
    `sampling: cyclical` and `fill: repeat`. Reference: https://arxiv.org/abs/2510.13515.
    """

    kind: Literal["judge"] = "judge"
    signal: str
    beta: Annotated[float, Field(ge=0, lt=1)] = 0.01
    sigmoid: bool = True
    reference: PositiveReference = "min"

    @property
    def signals(self) -> tuple[str, ...]:
        return (self.signal,)

    def __call__(self, candidates: Candidates) -> Mask:
        alpha = self._probability(candidates.reference(self.signal, self.reference)) - self.beta
        mask: Mask = self._probability(candidates.signal(self.signal).astype(np.float64)) <= alpha[:, None]
        return mask

    def suspects(self, candidates: Candidates) -> Mask:
        return ~self(candidates)

    def _probability(self, scores: Doubles) -> Doubles:
        return 0.5 * (1 + np.tanh(scores / 2)) if self.sigmoid else scores  # tanh does not overflow


class RankWindow(Filter):
    """Keep candidates ranked `first` to `last`, 1-based, both included; known positives have no rank."""

    kind: Literal["rank_window"] = "rank_window"
    first: PositiveInt = 1
    last: PositiveInt = 100

    @model_validator(mode="after")
    def _check(self) -> "RankWindow":
        if self.last < self.first:
            raise ValueError(f"last is {self.last}, before first ({self.first}); no rank lies between")
        return self

    def __call__(self, candidates: Candidates) -> Mask:
        return (self.first <= candidates.ranks) & (candidates.ranks <= self.last)


class ScoreRange(Filter):
    """Keep candidates that score from `minimum` to `maximum`, both included; None leaves that side open.

    A maximum is the TopK-Abs rule, best with scores whose scale is known; a minimum drops what is too easy to teach.
    NaN keeps nothing. Reference: https://arxiv.org/abs/2407.15831, section 4.1.
    """

    kind: Literal["score_range"] = "score_range"
    minimum: float | None = None
    maximum: float | None = None
    signal: str = "encoder"

    @model_validator(mode="after")
    def _check(self) -> "ScoreRange":
        if self.minimum is not None and self.maximum is not None and self.maximum < self.minimum:
            raise ValueError(f"maximum is {self.maximum}, below minimum ({self.minimum}); no score lies between")
        return self

    @property
    def signals(self) -> tuple[str, ...]:
        return (self.signal,)

    def __call__(self, candidates: Candidates) -> Mask:
        scores = candidates.signal(self.signal)
        low = -np.inf if self.minimum is None else self.minimum
        high = np.inf if self.maximum is None else self.maximum
        return (low <= scores) & (scores <= high)

    def suspects(self, candidates: Candidates) -> Mask:
        if self.maximum is None:
            return super().suspects(candidates)
        return ~(candidates.signal(self.signal) <= self.maximum)
