"""Samplings a recipe can name: which of the candidates that pass become negatives. Pure NumPy.

Each query is sampled by itself: other queries, added or removed, change nothing. To add one: write a class, then add
it to `AnySampling`.
"""

import abc
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveInt

from embedkit.core.spec import Spec
from embedkit.mining.filters import Candidates, Doubles, Mask, Rows
from embedkit.mining.lots import draw_lots


class Sampling(Spec, abc.ABC):
    """Chooses some of the candidates that pass."""

    kind: str

    @property
    def signals(self) -> tuple[str, ...]:
        """The signals this sampling looks at."""
        return ()

    @abc.abstractmethod
    def choose(self, candidates: Candidates, passing: Mask, count: int) -> Mask:
        """(Q, K) mask of at most `count` a query, all of them among `passing` (Q, K)."""


class Top(Sampling):
    """The best candidates that pass."""

    kind: Literal["top"] = "top"

    def choose(self, candidates: Candidates, passing: Mask, count: int) -> Mask:
        return passing & (np.cumsum(passing, axis=1) <= count)


class Random(Sampling):
    """A random choice among the candidates that pass, each as likely."""

    kind: Literal["random"] = "random"
    seed: NonNegativeInt

    def choose(self, candidates: Candidates, passing: Mask, count: int) -> Mask:
        return _lowest(draw_lots(self.seed, candidates.query_ids, candidates.rows), passing, count)


class Stratified(Sampling):
    """One random candidate from each of as many strata of score as negatives are wanted: hard, medium and easy ones.

    The n candidates that pass, in the order of their scores, are cut into `count` strata of equal size (they differ by
    one where n is no multiple); where n is less than `count`, all are chosen.
    """

    kind: Literal["stratified"] = "stratified"
    seed: NonNegativeInt
    signal: str = "encoder"

    @property
    def signals(self) -> tuple[str, ...]:
        return (self.signal,)

    def choose(self, candidates: Candidates, passing: Mask, count: int) -> Mask:
        scores = candidates.signal(self.signal).astype(np.float64)
        places = _places(np.where(np.isnan(scores), np.inf, -scores), passing)  # what is not scored stands last
        totals = passing.sum(axis=1, keepdims=True)
        strata = places * count // np.maximum(totals, count)
        lots = draw_lots(self.seed, candidates.query_ids, candidates.rows)
        order = np.lexsort((lots, np.where(passing, strata, count)), axis=1)
        ordered = np.take_along_axis(np.where(passing, strata, count), order, axis=1)
        firsts = (ordered < count) & (np.diff(ordered, axis=1, prepend=-1) > 0)
        chosen: Mask = np.zeros_like(passing)
        np.put_along_axis(chosen, order, firsts, axis=1)
        return chosen


class Cyclical(Sampling):
    """Every `stride`-th of the candidates that pass, from the best; at the end again from the second, and so on.

    UniME-V2's, for diversity: neighbours in the ranking are much alike. Reference: https://arxiv.org/abs/2510.13515.
    """

    kind: Literal["cyclical"] = "cyclical"
    stride: PositiveInt = 5

    def choose(self, candidates: Candidates, passing: Mask, count: int) -> Mask:
        places: Rows = np.cumsum(passing, axis=1) - 1
        return _lowest(places % self.stride * passing.shape[1] + places // self.stride, passing, count)


class MarginBins(Sampling):
    """Candidates spread evenly over a teacher's margins between positive and candidate (TAS-Balanced).

    The range from the query's least to its greatest margin is cut into `bins` of equal width. Each draw takes a bin,
    all that are not empty being as likely, and then one of its candidates; none is drawn twice. As the positive's score
    is the same in all margins, the bins are those of the candidates' scores. What `signal` does not score is not drawn.
    Reference: https://arxiv.org/abs/2104.06967, section 3.2, where h = 10.
    """

    kind: Literal["margin_bins"] = "margin_bins"
    seed: NonNegativeInt
    bins: PositiveInt = 10
    signal: str = "encoder"

    @property
    def signals(self) -> tuple[str, ...]:
        return (self.signal,)

    def choose(self, candidates: Candidates, passing: Mask, count: int) -> Mask:
        scores = candidates.signal(self.signal).astype(np.float64)
        left = passing & ~np.isnan(scores)
        bins = _bins(scores, left, self.bins)
        lots = draw_lots(self.seed, candidates.query_ids, candidates.rows)
        chosen: Mask = np.zeros_like(passing)
        queries = np.arange(len(passing))
        for draw in range(min(count, passing.shape[1])):
            there = np.zeros((len(passing), self.bins), dtype=np.bool_)
            there[np.nonzero(left)[0], bins[left]] = True
            numbers = np.broadcast_to(
                np.arange(self.bins) - (draw + 1) * self.bins, there.shape
            )  # no row of a document
            of_bins = np.where(there, draw_lots(self.seed, candidates.query_ids, numbers), np.inf)
            among = left & (bins == of_bins.argmin(axis=1)[:, None])
            column = np.where(among, lots, np.inf).argmin(axis=1)
            chosen[queries, column] |= among[queries, column]
            left[queries, column] = False
        return chosen


AnySampling = Annotated[Top | Random | Stratified | Cyclical | MarginBins, Field(discriminator="kind")]


def _lowest(keys: NDArray[Any], passing: Mask, count: int) -> Mask:
    """(Q, K), the `count` passing columns of each row whose keys are lowest, of equal ones the first."""
    return passing & (_places(keys.astype(np.float64), passing) < count)


def _places(keys: Doubles, passing: Mask) -> Rows:
    """(Q, K) 0-based place of each passing column among those of its row, by key; others stand behind them."""
    order = np.lexsort((keys, ~passing), axis=1)
    places: Rows = np.empty(order.shape, dtype=np.int64)
    np.put_along_axis(places, order, np.arange(order.shape[1], dtype=np.int64)[None, :], axis=1)
    return places


def _bins(scores: Doubles, there: Mask, bins: int) -> Rows:
    """(Q, K) which bin, of equal ones between each row's least and greatest score, a score is in; 0 if not there."""
    low = np.where(there, scores, np.inf).min(axis=1, initial=np.inf, keepdims=True)
    high = np.where(there, scores, -np.inf).max(axis=1, initial=-np.inf, keepdims=True)
    width = np.where(high > low, high - low, 1.0)
    place = np.where(there, (scores - np.where(there, low, 0.0)) / width, 0.0)
    return np.clip((place * bins).astype(np.int64), 0, bins - 1)
