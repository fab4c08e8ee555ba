"""Signals: named scores of candidates and positives: those that the recipe makes, and of mining's own ones those that
a filter or the sampling asks for.

To add one that needs no model of its own: write a function that makes a `Signal` of a ground, and add it to `BUILT_IN`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedkit.mining.filters import Candidates, Scores
from embedkit.mining.ground import Block, Ground
from embedkit.mining.groups import AnyGrouping, number_groups
from embedkit.mining.likeness import Signal, owner_similarity, positive_overlap, positive_similarity, same_group
from embedkit.mining.teacher import BM25, AnyTeacher, Scorer

TEACHERS: Final[Mapping[str, AnyTeacher]] = {"bm25": BM25()}  # there without being named; a recipe may name its own
BUILT_IN: Final[Mapping[str, Callable[[Ground], Signal]]] = {
    "positive_similarity": positive_similarity,
    "positive_overlap": positive_overlap,
    "owner_similarity": owner_similarity,
}
SAME_GROUP: Final = "same_group"  # made of the stage's `groups`


@dataclass(frozen=True)
class Signals:
    """What scores candidates besides the encoder that found them."""

    scorers: Mapping[str, Scorer]  # the recipe's own
    built_in: Mapping[str, Signal]

    @staticmethod
    def open(
        names: Sequence[str], scorers: Mapping[str, Scorer], ground: Ground, groups: AnyGrouping | None
    ) -> "Signals":
        """The teachers' and, of `names`, those mining has itself. Raises `DataError` if `groups` groups nothing."""
        built_in = {name: BUILT_IN[name](ground) for name in names if name in BUILT_IN}
        if SAME_GROUP in names and groups is not None:
            built_in[SAME_GROUP] = same_group(number_groups(groups, ground.corpus))
        return Signals(scorers, built_in)

    def add(self, block: Block, candidates: Candidates) -> Candidates:
        """The candidates with every signal's scores."""
        scores, positives = dict(candidates.scores), dict(candidates.positives)
        for name, scorer in self.scorers.items():
            scores[name], positives[name] = _by_teacher(scorer, block, candidates)
        for name, signal in self.built_in.items():
            scores[name], positives[name] = signal(block, candidates.rows)
        return replace(candidates, scores=scores, positives=positives)


def _by_teacher(scorer: Scorer, block: Block, candidates: Candidates) -> tuple[Scores, list[Scores]]:
    """Scores of positives and candidates in one go, so that a teacher's batches run across both and all queries; none
    of excluded candidates, whose scores decide nothing."""
    rows, wanted = candidates.rows, candidates.eligible
    asked = zip(block.relevant, rows, wanted, strict=True)
    found = scorer(block.texts, [np.concatenate([own, some[mask]]) for own, some, mask in asked])
    scores: NDArray[np.float32] = np.full(rows.shape, np.nan, dtype=np.float32)
    for query, (own, values) in enumerate(zip(block.relevant, found, strict=True)):
        scores[query, wanted[query]] = values[len(own) :]
    return scores, [values[: len(own)] for own, values in zip(block.relevant, found, strict=True)]
