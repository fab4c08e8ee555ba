"""Scored pairs of queries and documents, some of them relevant: what separation and calibration are measured on."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedkit.core.errors import DataError

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Pairs:
    """n scored pairs of Q queries, in order of their query and, within it, of falling score."""

    queries: Codes  # (n,) from 0 to Q - 1, none missing, each with at least one relevant document
    scores: Floats  # (n,)
    relevant: Flags  # (n,)
    without_positives: int = 0  # queries that were left out, since nothing is relevant to them

    @classmethod
    def of(cls, queries: ArrayLike, scores: ArrayLike, relevant: ArrayLike) -> Self:
        """Pairs in any order, their queries numbered from 0. Rows that are in order already need no sorting.

        Raises `DataError` if the columns differ in length, a score is not finite, a query's number is negative, or
        nothing is relevant, or everything.
        """
        codes, values, flags = np.asarray(queries, np.int64), np.asarray(scores, np.float64), np.asarray(relevant, bool)
        if codes.ndim != 1 or not codes.shape == values.shape == flags.shape:
            raise DataError(
                f"pairs need a query, a score and a judgement each; found {codes.shape}, {values.shape}, {flags.shape}"
            )
        if not (fine := np.isfinite(values)).all():
            raise DataError(f"pairs need finite scores; found {values[~fine][0]} in row {int(fine.argmin())}")
        if codes.size and codes.min() < 0:
            raise DataError(f"queries are numbered from 0; found {codes.min()}")
        if not flags.any() or flags.all():
            raise DataError(
                f"pairs need relevant and other documents; found {flags.sum():,} relevant of {flags.size:,}"
            )
        seen = np.bincount(codes) > 0
        judged = np.bincount(codes[flags], minlength=len(seen)) > 0
        kept = judged[codes]
        if not kept.all():
            codes, values, flags = codes[kept], values[kept], flags[kept]
        codes = (np.cumsum(judged) - 1)[codes]
        if not _in_order(codes, values):
            order = np.lexsort((-values, codes))
            codes, values, flags = codes[order], values[order], flags[order]
        return cls(codes, values, flags, int((seen & ~judged).sum()))

    @property
    def count(self) -> int:
        """Q, the number of queries."""
        return int(self.queries[-1]) + 1

    @cached_property
    def sides(self) -> tuple[Floats, Floats]:
        """The scores of the relevant documents and those of the others, each rising."""
        return np.sort(self.scores[self.relevant]), np.sort(self.scores[~self.relevant])

    def places(self) -> Codes:
        """(n,) place of each pair among those of its query, from 0."""
        starts = np.searchsorted(self.queries, np.arange(self.count))
        return np.arange(len(self.queries)) - starts[self.queries]


def _in_order(queries: Codes, scores: Floats) -> bool:
    step = np.diff(queries)
    return bool(((step > 0) | ((step == 0) & (np.diff(scores) <= 0))).all())
