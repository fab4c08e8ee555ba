"""False-negative filters: which candidates are safe to use as negatives. Pure NumPy.

To add one: write a class, then add it to `AnyFilter`.
"""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from embedkit.core.errors import DataError, did_you_mean
from embedkit.core.spec import Spec

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]
Scores = NDArray[np.floating[Any]]
PositiveReference = Literal["min", "max", "mean", "own"]
NONE = -1  # a place that holds no document


@dataclass(frozen=True)
class Candidates:
    """What was retrieved for Q queries, best first, and what is known of it.

    A *signal* is a way to score a document for a query; "encoder" is the model that retrieved the candidates. Every
    signal scores the candidates and each query's positives. `excluded` says, by reason, which candidates may never be
    negatives: known positives before all. Raises `DataError` unless all shapes agree.
    """

    query_ids: Sequence[str]  # Q
    rows: Rows  # (Q, K) rows of the corpus, -1 where a query has fewer
    scores: Mapping[str, Scores]  # signal -> (Q, K)
    positives: Mapping[str, Sequence[Scores]]  # signal -> per query, the scores of its positives, most relevant first
    excluded: Mapping[str, Mask]  # reason -> (Q, K)

    def __post_init__(self) -> None:
        shapes = {"rows": self.rows.shape, **{f"scores of {name}": s.shape for name, s in self.scores.items()}}
        shapes |= {f"excluded as {reason}": mask.shape for reason, mask in self.excluded.items()}
        lengths = {f"positives of {name}": len(lists) for name, lists in self.positives.items()}
        expected = (len(self.query_ids), *self.rows.shape[1:])
        for what, found in (*shapes.items(), *((k, (n, *expected[1:])) for k, n in lengths.items())):
            if found != expected:
                raise DataError(f"candidates: {what} have shape {found}; (queries, candidates) is {expected}")

    @cached_property
    def eligible(self) -> Mask:
        """(Q, K), True for documents that nothing excludes."""
        mask: Mask = self.rows != NONE
        for excluded in self.excluded.values():
            mask &= ~excluded
        return mask

    @cached_property
    def ranks(self) -> Rows:
        """(Q, K) 1-based rank among the query's eligible candidates; 0 for all others."""
        return np.where(self.eligible, np.cumsum(self.eligible, axis=1), 0)

    def signal(self, name: str) -> Scores:
        """(Q, K) scores by this signal; a `DataError` if there are none."""
        if name not in self.scores:
            known = sorted(self.scores)
            raise DataError(f"signal {name!r}: nothing scored it; there are {known}{did_you_mean(name, known)}")
        return self.scores[name]

    def reference(self, signal: str, how: PositiveReference) -> NDArray[np.float64]:
        """(Q,) the positive score that a query's candidates are held against; NaN for a query without positives.

        `own` is the first positive, the most relevant one: the one a training row of that query is made of.
        """
        self.signal(signal)
        lists = [np.asarray(scores, dtype=np.float64) for scores in self.positives[signal]]
        if how == "own":
            return np.array([scores[0] if len(scores) else np.nan for scores in lists], dtype=np.float64)
        return np.array([getattr(scores, how)() if len(scores) else np.nan for scores in lists], dtype=np.float64)


class Filter(Spec, abc.ABC):
    """Says which candidates may be negatives. Pure: the same candidates give the same mask."""

    kind: str

    @property
    def signals(self) -> tuple[str, ...]:
        """The signals this filter looks at."""
        return ()

    @abc.abstractmethod
    def __call__(self, candidates: Candidates) -> Mask:
        """(Q, K) mask, True where the candidate may be used."""

    def suspects(self, candidates: Candidates) -> Mask:
        """(Q, K) mask, True where the candidate is dropped because it may be relevant."""
        return np.zeros(candidates.rows.shape, dtype=np.bool_)


class PercentOfPositive(Filter):
    """Keep candidates that score at most `ratio` of the positive (TopK-PercPos).

        keep n  iff  s(n) ≤ p − (1 − ratio) · |p|

    For p ≥ 0 that is ratio · p. For p < 0, where ratio · p would lie above the positive itself, it is below it all the
    same. A NaN score, or a query without a positive's score, keeps nothing. Near-duplicate corpora need 0.8 to 0.9.
    Reference: https://arxiv.org/abs/2407.15831, section 4.1.
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

    For unbounded scores (logits, dot products), where a ratio has no meaning. NaN keeps nothing.
    Reference: https://arxiv.org/abs/2407.15831, section 4.1.
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


AnyFilter = Annotated[PercentOfPositive | MarginToPositive | RankWindow | ScoreRange, Field(discriminator="kind")]
