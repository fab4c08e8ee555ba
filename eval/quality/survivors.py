"""How many hidden positives survive as negatives, against how hard the other negatives are: figures and comparisons.

Two rules are compared on the same queries, those for which both give all the negatives that are asked for. A rule with
a knob is a curve; it is held against another rule at the point of the curve that is as hard, by interpolation between
its neighbours.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from embedkit.measures.significance import paired_bootstrap
from embedkit.mining.filters import NONE, Filter, Mask
from embedkit.mining.miner import choose_negatives
from eval.quality.hidden import Trial

Doubles = NDArray[np.float64]
Hardness = Literal["score", "rank"]  # the mean encoder score of negatives that are not hidden positives; their rank


@dataclass(frozen=True)
class Outcome:
    """What a rule gave for Q queries, n negatives each at most."""

    full: Mask  # (Q,) whether there are n
    survivors: Doubles  # (Q,) negatives that are hidden positives
    others: Doubles  # (Q,) negatives that are not
    scores: Doubles  # (Q,) the sum of their encoder scores
    ranks: Doubles  # (Q,) the sum of their ranks among the query's candidates

    def share(self, queries: Mask) -> float:
        """Hidden positives among the negatives of these queries."""
        return float(self.survivors[queries].sum() / (self.survivors + self.others)[queries].sum())

    def hardness(self, of: Hardness, queries: Mask) -> float:
        """The mean over the other negatives of these queries; NaN if there are none."""
        total, count = (self.scores if of == "score" else self.ranks)[queries].sum(), self.others[queries].sum()
        return float(total / count) if count else float("nan")

    def figures(self, queries: Mask, hidden: NDArray[np.int64]) -> dict[str, float]:
        """For a table; `hidden` (Q,) counts the hidden positives."""
        return {
            "share_of_negatives": self.share(queries),
            "share_of_hidden": float(self.survivors[queries].sum() / hidden[queries].sum()),
            "score": self.hardness("score", queries),
            "rank": self.hardness("rank", queries),
        }


def apply(trials: Sequence[Trial], filters: Sequence[Filter], count: int) -> Outcome:
    """The outcome over all trials, one after the other."""
    return _joined([_apply(trial, filters, count) for trial in trials])


def compare(
    rule: Outcome, curve: Sequence[Outcome], queries: Sequence[str], *, count: int, of: Hardness
) -> dict[str, Any] | None:
    """The curve's survivors where it is as hard as `rule`, and their difference with an interval over queries.

    `queries` names the Q queries; one that is in several trials counts as one. Where even the easiest point of the
    curve is harder than the rule, that point is taken, marked `harder`. None if the hardest is easier, or no point has
    all the rule's queries.
    """
    kept = rule.full
    usable = [point for point in curve if point.full[kept].all()]
    if not usable or not kept.any():
        return None
    sign = 1.0 if of == "score" else -1.0
    usable.sort(key=lambda point: sign * point.hardness(of, kept))  # the easiest first
    hardness = np.array([sign * point.hardness(of, kept) for point in usable])
    target = sign * rule.hardness(of, kept)
    if not target <= hardness[-1]:
        return None
    after = int(np.searchsorted(hardness, target))
    before = max(after - 1, 0)
    width = hardness[after] - hardness[before]
    weight = float((target - hardness[before]) / width) if width > 0 else 0.0
    mine = (1 - weight) * usable[before].survivors + weight * usable[after].survivors
    return {
        "share_of_negatives": float(mine[kept].mean() / count),
        "harder": bool(after == 0 and target < hardness[0]),
        **minus(mine / count, rule.survivors / count, queries, kept),
    }


def minus(a: Doubles, b: Doubles, queries: Sequence[str], kept: Mask) -> dict[str, float]:
    """The mean of a - b over all trials of the `kept` queries with a 95 % interval, for which a query and its trials
    are drawn together."""
    of_query: dict[str, float] = defaultdict(float)
    rows = np.flatnonzero(kept).tolist()
    for row in rows:
        of_query[queries[row]] += float(a[row] - b[row])
    trials = len(rows) / len(of_query)
    return asdict(paired_bootstrap([of_query[query] / trials for query in sorted(of_query)], [0.0] * len(of_query)))


def _apply(trial: Trial, filters: Sequence[Filter], count: int) -> Outcome:
    candidates = trial.candidates
    columns = choose_negatives(candidates, filters, count=count).columns
    there = columns != NONE
    places = np.where(there, columns, 0)
    survives = np.take_along_axis(trial.hidden, places, axis=1) & there
    other = there & ~survives
    scores = np.take_along_axis(candidates.signal("encoder").astype(np.float64), places, axis=1)
    ranks = np.take_along_axis(candidates.ranks, places, axis=1)
    return Outcome(
        full=there.all(axis=1),
        survivors=survives.sum(axis=1).astype(np.float64),
        others=other.sum(axis=1).astype(np.float64),
        scores=np.where(other, scores, 0.0).sum(axis=1),
        ranks=np.where(other, ranks, 0).sum(axis=1).astype(np.float64),
    )


def _joined(parts: Sequence[Outcome]) -> Outcome:
    names = ("full", "survivors", "others", "scores", "ranks")
    return Outcome(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
