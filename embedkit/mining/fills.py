"""What stands in for negatives where too few candidates pass. Nothing, unless a recipe asks for it.

Fills are marked in what mining writes: a fill's rank is 0, and its document is listed among the pair's `fills`.
"""

import abc
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, NonNegativeInt

from embedkit.core.spec import Spec
from embedkit.mining.filters import NONE, Candidates, Rows
from embedkit.mining.known import Known
from embedkit.mining.lots import query_generator
from embedkit.mining.miner import Choice


class Fill(Spec, abc.ABC):
    """Says which documents stand in for missing negatives."""

    kind: str

    @abc.abstractmethod
    def rows(self, candidates: Candidates, choice: Choice, known: Known, *, pool: int | Rows) -> Rows:
        """(Q, count) rows where `choice.columns` has none, -1 elsewhere; of `pool`, or of a corpus of so many."""


class NoFill(Fill):
    """Nothing: such queries have fewer negatives."""

    kind: Literal["none"] = "none"

    def rows(self, candidates: Candidates, choice: Choice, known: Known, *, pool: int | Rows) -> Rows:
        return np.full(choice.columns.shape, NONE, dtype=np.int64)


class RandomFill(Fill):
    """Random documents of the corpus: easy ones, most of them.

    None that is a candidate of the query, whatever became of it, nor one that is known to be relevant, of the text of
    such a one or of the query, or relevant to a near query. A corpus with too few others leaves places empty. Drawn for
    each query by itself: other queries change nothing.
    """

    kind: Literal["random"] = "random"
    seed: NonNegativeInt

    def rows(self, candidates: Candidates, choice: Choice, known: Known, *, pool: int | Rows) -> Rows:
        rows = np.full(choice.columns.shape, NONE, dtype=np.int64)
        missing, size = choice.columns == NONE, pool if isinstance(pool, int) else len(pool)
        for query in np.flatnonzero(missing.any(axis=1)).tolist():
            lists = [some[query] for some in known.reasons().values()]
            barred = np.unique(np.concatenate([candidates.rows[query], *lists]))
            barred = barred[barred != NONE]  # empty places, of which blocks differ, must not change what is drawn
            wanted = int(missing[query].sum())
            generator = query_generator(self.seed, candidates.query_ids[query])
            # distinct and so many that enough are left, whichever of them are barred
            drawn = generator.choice(pool, size=min(size, wanted + len(barred)), replace=False)
            found = drawn[~np.isin(drawn, barred)][:wanted]
            rows[query, np.flatnonzero(missing[query])[: len(found)]] = found
        return rows


class Repeat(Fill):
    """The query's own negatives again, the best first, round and round, as UniME-V2 has it.

    A query without any keeps none. Formats with a fixed number of negatives need such rows; embedkit's own training
    takes a document once. Reference: https://arxiv.org/abs/2510.13515.
    """

    kind: Literal["repeat"] = "repeat"

    def rows(self, candidates: Candidates, choice: Choice, known: Known, *, pool: int | Rows) -> Rows:
        there = choice.columns != NONE
        found = there.sum(axis=1, keepdims=True)
        again = np.arange(choice.columns.shape[1])[None, :] % np.maximum(found, 1)
        columns = np.take_along_axis(choice.columns, again, axis=1)
        chosen = (
            np.take_along_axis(candidates.rows, np.maximum(columns, 0), axis=1) if candidates.rows.size else columns
        )
        return np.where(there | (found == 0), NONE, chosen)


AnyFill = Annotated[NoFill | RandomFill | Repeat, Field(discriminator="kind")]
