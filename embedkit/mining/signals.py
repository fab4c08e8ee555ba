"""Signals: named scores of candidates and positives, made only where a filter or the sampling asks for them.

To add one that needs no model of its own: write a function of `Signal`'s form and add it to `BUILT_IN`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedkit.mining.filters import NONE, Candidates, Rows, Scores
from embedkit.mining.ground import Block
from embedkit.mining.teacher import Scorer

Signal = Callable[[Block, Rows], tuple[Scores, Sequence[Scores]]]
"""A block and its candidates' rows (Q, K) -> their scores (Q, K), NaN where there is none, and per query those of its
positives, the most relevant first."""

BUILT_IN: Final[Mapping[str, Signal]] = {}


@dataclass(frozen=True)
class Signals:
    """What scores candidates besides the encoder that found them."""

    scorers: Mapping[str, Scorer]  # the recipe's own
    built_in: Sequence[str] = ()

    def add(self, block: Block, candidates: Candidates) -> Candidates:
        """The candidates with every signal's scores."""
        scores, positives = dict(candidates.scores), dict(candidates.positives)
        for name, scorer in self.scorers.items():
            scores[name], positives[name] = _by_teacher(scorer, block, candidates.rows)
        for name in self.built_in:
            scores[name], positives[name] = BUILT_IN[name](block, candidates.rows)
        return replace(candidates, scores=scores, positives=positives)


def _by_teacher(scorer: Scorer, block: Block, rows: Rows) -> tuple[Scores, list[Scores]]:
    """Scores of positives and candidates in one go, so that a teacher's batches run across both and all queries."""
    lists = [np.concatenate([own, some[some != NONE]]) for own, some in zip(block.relevant, rows, strict=True)]
    found = scorer(block.texts, lists)
    scores: NDArray[np.float32] = np.full(rows.shape, np.nan, dtype=np.float32)
    for query, (own, values) in enumerate(zip(block.relevant, found, strict=True)):
        scores[query, rows[query] != NONE] = values[len(own) :]
    return scores, [values[: len(own)] for own, values in zip(block.relevant, found, strict=True)]
