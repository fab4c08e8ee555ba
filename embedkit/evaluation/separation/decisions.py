"""Thresholds of the score: what one does to the pairs it was chosen on, and to queries that had no say in it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from embedkit.measures.pairs import Codes, Floats, Pairs
from embedkit.measures.resampling import Binned, from_here_on
from embedkit.measures.thresholds import Curve, Places, f1, for_f1, for_precision, precision

Choose = Callable[[Floats, Floats], Places]
Taken = tuple[Floats, Floats]  # (Q,) relevant documents above the threshold, and all of them


def best_f1(pairs: Pairs, curve: Curve) -> dict[str, Any]:
    """The threshold with the best F1 over all pairs."""
    return _at(pairs, curve, int(for_f1(curve.positives, curve.negatives)))


def best_for(pairs: Pairs, curve: Curve, wanted: float) -> dict[str, Any]:
    """The threshold that finds most at a precision of `wanted`; where none reaches it, the one of highest precision."""
    place = int(for_precision(curve.positives, curve.negatives, wanted))
    highest = int(precision(curve.positives, curve.negatives).argmax())
    reached = place >= 0
    return {"wanted": wanted, "reached": reached, **_at(pairs, curve, place if reached else highest)}


def held_out(binned: Binned, folds: Codes, choose: Choose) -> Taken:
    """What each query's documents come to at the threshold that the queries of all other folds chose.

    A threshold looks better on the pairs it was chosen on than on any others. Nothing is taken where they found none.
    """
    others = folds[None, :] != np.arange(int(folds.max()) + 1)[:, None]
    chosen = choose(*(from_here_on(totals) for totals in binned.totals(others.astype(np.float64))))
    cuts = np.where(others.any(axis=1), chosen, -1)[folds]
    taken = (np.arange(len(binned.edges)) >= cuts[:, None]) & (cuts[:, None] >= 0)
    positives = np.einsum("qb,qb->q", binned.positives, taken, dtype=np.float64)
    negatives = np.einsum("qb,qb->q", binned.negatives, taken, dtype=np.float64)
    return positives, positives + negatives


def summed(taken: Taken, positives: int) -> dict[str, float | None]:
    """Precision and recall of all queries together."""
    relevant, all_taken = float(taken[0].sum()), float(taken[1].sum())
    return {"precision": relevant / all_taken if all_taken else None, "recall": relevant / positives}


def _at(pairs: Pairs, curve: Curve, place: int) -> dict[str, Any]:
    threshold = float(curve.thresholds[place])
    positives, negatives = curve.positives, curve.negatives
    lowest = np.flatnonzero(np.r_[pairs.queries[1:] != pairs.queries[:-1], True])  # of each query the last pair
    return {
        "threshold": threshold,
        "precision": float(precision(positives, negatives)[place]),
        "recall": float(positives[place] / positives[0]),
        "f1": float(f1(positives, negatives)[place]),
        "taken": int(positives[place] + negatives[place]),
        # queries with all their pairs above the threshold: documents that are not among the pairs may be, too
        "queries_cut_short": int((pairs.scores[lowest] >= threshold).sum()),
    }
