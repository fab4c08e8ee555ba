"""Several teachers' scores of one list of documents as one score each; several retrievers' lists as one. Pure NumPy.

To add a fusion of scores: write a class, then add it to `AnyFusion`.

Teachers score on scales of their own (BM25 from 0 up, cosines up to 1, logits anywhere), so their scores are never
added as they are. Every fusion looks at one query's list at a time; what it gives depends on the whole list, which is
why lists that are to be compared must be made in the same way (see `embedkit.mining.teach.Teach`).
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat

from embedkit.core.spec import Spec
from embedkit.mining.filters import NONE, Rows

Scores = NDArray[np.floating[Any]]
EPSILON: Final = 1e-6  # a teacher whose scores of a list spread no wider says nothing about it: zeros


class Fusion(Spec, abc.ABC):
    """Joins teachers' scores. Pure: the same scores give the same result."""

    kind: str

    @abc.abstractmethod
    def __call__(self, scores: Sequence[Scores], weights: Sequence[float]) -> NDArray[np.float64]:
        """(L,) fused scores, higher is better, of T teachers' (L,) scores and their T weights."""


class ZScore(Fusion):
    """The weighted mean of each teacher's z-scores.

        f(d) = Σ_t w_t · (s_t(d) − μ_t) / σ_t  /  Σ_t w_t          μ, σ over the list; 0 if max − min ≤ 1e-6

    Unbounded, mean 0, in units of a standard deviation: a document that stands out gets a score that stands out.
    """

    kind: Literal["z_score"] = "z_score"

    def __call__(self, scores: Sequence[Scores], weights: Sequence[float]) -> NDArray[np.float64]:
        return _weighted_mean([_over_spread(s - s.mean(), np.ptp(s), s.std()) for s in _doubles(scores)], weights)


class MinMax(Fusion):
    """The weighted mean of each teacher's scores, stretched to [0, 1].

        f(d) = Σ_t w_t · (s_t(d) − min_t) / (max_t − min_t)  /  Σ_t w_t          0 if max − min ≤ 1e-6

    In [0, 1]. The paper multiplies by 30 before a softmax at temperature 1: that is a teacher temperature of 1/30.
    Reference: https://arxiv.org/abs/2411.04403, section 3.2.
    """

    kind: Literal["min_max"] = "min_max"

    def __call__(self, scores: Sequence[Scores], weights: Sequence[float]) -> NDArray[np.float64]:
        return _weighted_mean([_over_spread(s - s.min(), np.ptp(s), np.ptp(s)) for s in _doubles(scores)], weights)


class ReciprocalRank(Fusion):
    """Reciprocal rank fusion: only the order counts.

        f(d) = Σ_t w_t / (k + rank_t(d))

    Ranks are 1-based in the list; documents of equal score share the mean of their ranks. Scores are small, at most
    Σ w / (k + 1), and close together, so a soft-label loss needs a teacher temperature of about 0.001.
    Reference: Cormack, Clarke and Büttcher (2009), https://doi.org/10.1145/1571941.1572114.
    """

    kind: Literal["rrf"] = "rrf"
    k: PositiveFloat = 60

    def __call__(self, scores: Sequence[Scores], weights: Sequence[float]) -> NDArray[np.float64]:
        return _weighted_sum([1 / (self.k + ranks(s)) for s in _doubles(scores)], weights)


AnyFusion = Annotated[ZScore | MinMax | ReciprocalRank, Field(discriminator="kind")]


@dataclass(frozen=True)
class Fused:
    """One list a query, made of T retrievers' lists."""

    rows: Rows  # (Q, K), best first, equal ones by row; -1 where a query has fewer
    places: Rows  # (T, Q, K) column of the document in each retriever's list; -1 where that one did not find it


def fuse_lists(
    rows: Sequence[Rows], scores: Sequence[Scores], weights: Sequence[float], fusion: ReciprocalRank
) -> Fused:
    """Reciprocal rank fusion of T retrievers' lists for Q queries, all queries at once.

    A list is a (Q, K_t) array of distinct rows with their scores, best first, -1 behind the last. A document that a
    retriever did not find gets nothing from it.
    """
    found = [np.nonzero(some != NONE) for some in rows]
    width = max((int(some.max(initial=NONE)) for some in rows), default=NONE) + 1
    keys = np.concatenate([at[0] * width + some[at] for at, some in zip(found, rows, strict=True)])
    shares = [w / (fusion.k + _list_ranks(r, s)[at]) for r, s, w, at in zip(rows, scores, weights, found, strict=True)]
    distinct, document = np.unique(keys, return_inverse=True)  # by query, then by row
    queries, fused = distinct // max(width, 1), np.bincount(document, np.concatenate(shares), len(distinct))
    order = np.lexsort((distinct, -fused, queries))
    counts = np.bincount(queries, minlength=len(rows[0]))
    columns = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = len(rows[0]), int(counts.max(initial=0))
    merged, places = np.full(shape, NONE), np.full((len(rows), *shape), NONE)
    merged[queries, columns] = distinct[order] % max(width, 1)
    start = 0
    for number, (_, place) in enumerate(found):
        own = np.full(len(distinct), NONE)
        own[document[start : start + len(place)]] = place
        places[number, queries, columns] = own[order]
        start += len(place)
    return Fused(merged, places)


def _list_ranks(rows: Rows, scores: Scores) -> NDArray[np.float64]:
    """`ranks` of every list: (Q, K) of lists in their order."""
    first = np.ones(rows.shape, dtype=np.bool_)
    first[:, 1:] = (scores[:, 1:] != scores[:, :-1]) | ((rows[:, 1:] == NONE) & (rows[:, :-1] != NONE))
    group = np.cumsum(first.ravel()) - 1
    ranks = np.broadcast_to(np.arange(1.0, rows.shape[1] + 1), rows.shape).ravel()
    means: NDArray[np.float64] = (np.bincount(group, ranks) / np.bincount(group))[group].reshape(rows.shape)
    return means


def ranks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """1-based ranks, the highest score first; equal scores share the mean of the ranks they take."""
    _, group, sizes = np.unique(-scores, return_inverse=True, return_counts=True)
    middles: NDArray[np.float64] = np.cumsum(sizes) - (sizes - 1) / 2
    return middles[group]


def _doubles(scores: Sequence[Scores]) -> list[NDArray[np.float64]]:
    return [np.asarray(s, dtype=np.float64) for s in scores]


def _over_spread(shifted: NDArray[np.float64], width: np.floating[Any], unit: np.floating[Any]) -> NDArray[np.float64]:
    return shifted / unit if width > EPSILON else np.zeros_like(shifted)


def _weighted_mean(parts: Sequence[NDArray[np.float64]], weights: Sequence[float]) -> NDArray[np.float64]:
    return _weighted_sum(parts, weights) / sum(weights)


def _weighted_sum(parts: Sequence[NDArray[np.float64]], weights: Sequence[float]) -> NDArray[np.float64]:
    total = np.zeros_like(parts[0])
    for part, weight in zip(parts, weights, strict=True):
        total += weight * part
    return total
