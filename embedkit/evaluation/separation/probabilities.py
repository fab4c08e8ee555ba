"""What scores are worth as probabilities of relevance, each query calibrated by the others."""

from typing import Any, Final

import numpy as np

from embedkit.core.errors import DataError
from embedkit.measures.calibration import (
    Brier,
    Reliability,
    brier,
    cross_fit,
    fit_pairs,
    reliability,
)
from embedkit.measures.pairs import Codes, Flags, Floats, Pairs

FIRST: Final = 10  # documents of each query that a reader sees


def calibrated(pairs: Pairs, folds: Codes) -> tuple[dict[str, Any] | None, Floats]:
    """Figures of calibration, and the (n,) probabilities they are of; None if there are too few queries for that.

    The scaling is that of all queries, for use; the figures are those of probabilities that other queries' scalings
    gave. `ece.first` is over the best ten documents of each query: among all pairs nearly all are obvious, and any
    model that gives them nearly nothing looks well calibrated.
    """
    try:
        probabilities = cross_fit(pairs, folds)
    except DataError:  # the others have only one kind of document
        return None, np.empty(0)
    scaling, relevant, queries = fit_pairs(pairs), pairs.relevant, pairs.queries
    width = reliability(probabilities, relevant, queries, by="width")
    mass = reliability(probabilities, relevant, queries, by="mass")
    seen = pairs.places() < FIRST
    first = reliability(probabilities[seen], relevant[seen], queries[seen], by="width")
    figures = {
        "temperature": scaling.temperature if np.isfinite(scaling.temperature) else None,
        "bias": scaling.bias,
        "folds": int(folds.max()) + 1,
        "brier": _brier(brier(probabilities, relevant, width)),
        "ece": {name: _ece(found) for name, found in (("width", width), ("mass", mass), ("first", first))},
        "reliability": {"width": _rows(width), "mass": _rows(mass), "first": _rows(first)},
        "cosine": _as_it_is(pairs.scores, relevant, queries),
    }
    return figures, probabilities


def _as_it_is(scores: Floats, relevant: Flags, queries: Codes) -> dict[str, float] | None:
    """What a cosine is worth that is taken for a probability, below 0 for 0; None of scores that are no cosines."""
    if not -1.001 <= scores.min() <= scores.max() <= 1.001:
        return None
    taken = np.clip(scores, 0.0, 1.0)
    bins = reliability(taken, relevant, queries, by="width")
    return {"ece": bins.ece, "brier": brier(taken, relevant, bins).score}


def _brier(found: Brier) -> dict[str, float]:
    return {**vars(found), "skill": found.skill}


def _ece(found: Reliability) -> dict[str, float]:
    return {"value": found.ece, "noise": found.noise}


def _rows(found: Reliability) -> list[list[float]]:
    rows = zip(found.counts.tolist(), found.probabilities.tolist(), found.shares.tolist(), strict=True)
    return [list(row) for row in rows]
