"""The figures of one model's scores on one task, JSON-ready, and those of its vectors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedkit.core.stats import histogram
from embedkit.evaluation.separation.decisions import Taken, best_f1, best_for, held_out, summed
from embedkit.evaluation.separation.probabilities import calibrated
from embedkit.measures.calibration import folds_of
from embedkit.measures.geometry import alignment, togetherness, tolerance, uniformity
from embedkit.measures.pairs import Flags, Floats, Pairs
from embedkit.measures.resampling import Binned, from_here_on, percentiles, resample
from embedkit.measures.separation import auc, auc_by_query, roc, variance_between, without_shift
from embedkit.measures.thresholds import Curve, for_f1, for_precision

POINTS: Final = 200  # of a curve, at most
_COMPARED: Final = 2048  # vectors whose uniformity is taken, at most

Ratios = dict[str, tuple[Floats, Floats]]  # of sums over queries: (Q,) above and below the line
Intervals = dict[str, tuple[float, float, float]]  # low, high, share of resamples that have a value


@dataclass(frozen=True)
class Options:
    """How figures are made."""

    precisions: Sequence[float] = (0.5, 0.8, 0.9, 0.95)  # that thresholds are sought for
    folds: int = 5
    samples: int = 1000
    confidence: float = 0.95
    seed: int = 0


def separation(
    queries: ArrayLike, scores: ArrayLike, relevant: ArrayLike, *, seed: int = 0, options: Options | None = None
) -> dict[str, Any]:
    """Figures of n pairs: `queries` (n,) numbered from 0, `scores` (n,), `relevant` (n,).

    Fastest if pairs are in order of their query and of falling score. Raises `DataError` as `Pairs.of` does.
    """
    how = options or Options(seed=seed)
    pairs = Pairs.of(queries, scores, relevant)
    folds = folds_of(pairs.count, folds=min(how.folds, pairs.count), seed=how.seed)
    binned, aucs = Binned.of(pairs), auc_by_query(pairs)
    calibration, probabilities = calibrated(pairs, folds)
    chosen = {_name(p): held_out(binned, folds, partial(for_precision, wanted=p)) for p in how.precisions}
    chosen["f1"] = held_out(binned, folds, for_f1)
    ratios: Ratios = {"per_query": (np.nan_to_num(aucs), (~np.isnan(aucs)).astype(np.float64))}
    if calibration is not None:
        errors = np.bincount(pairs.queries, (probabilities - pairs.relevant) ** 2)
        ratios["brier"] = errors.astype(np.float64), np.bincount(pairs.queries).astype(np.float64)
    spans = _intervals(binned, ratios | {f"held_out_{name}": taken for name, taken in chosen.items()}, how)
    if calibration is not None:
        calibration["brier"] |= _span(spans["brier"])
    return {
        "pairs": _counts(pairs),
        "bootstrap": {"samples": how.samples, "confidence": how.confidence, "seed": how.seed},
        "auc": _auc(pairs, aucs, spans),
        "roc": _roc(pairs),
        "calibration": calibration,
        "thresholds": _thresholds(pairs, chosen, spans, how),
        "histograms": _histograms(pairs),
        "notes": _notes(pairs, calibration),
    }


def geometry(
    queries: ArrayLike, documents: ArrayLike, sample: ArrayLike, *, codes: ArrayLike | None = None
) -> dict[str, Any]:
    """How the vectors lie: (n, D) queries and (n, D) documents of n relevant pairs, and (m, D) documents of any kind.

    `codes` (n,) number the queries from 0; without them each row is a query of its own. Uniformity is that of 2,048
    vectors at most, evenly spaced in the order they are given. Vectors of length 0, as some models give to texts
    without known words, have no direction: they are counted and left out.
    """
    asked, found, some = (np.asarray(vectors) for vectors in (queries, documents, sample))
    owners = np.arange(len(asked)) if codes is None else np.asarray(codes, np.int64)
    fine, solid = _directed(asked) & _directed(found), _directed(some)
    asked, found, owners = asked[fine], found[fine], owners[fine]
    distinct = asked[np.unique(owners, return_index=True)[1]]
    return {
        "alignment": alignment(asked, found) if len(asked) else None,
        "tolerance": tolerance(asked, found) if len(asked) else None,
        "tolerance_documents": togetherness(found, owners) if len(asked) else None,
        "uniformity": {"queries": _uniformity(distinct), "documents": _uniformity(some[solid])},
        "pairs": len(asked),
        "sample": int(solid.sum()),
        "without_direction": int((~fine).sum() + (~solid).sum()),
    }


def _directed(vectors: NDArray[np.floating]) -> Flags:
    return np.asarray(vectors.any(axis=1), bool)


def _uniformity(vectors: NDArray[np.floating]) -> float | None:
    if len(vectors) > _COMPARED:
        vectors = vectors[np.linspace(0, len(vectors) - 1, _COMPARED).round().astype(np.int64)]
    return uniformity(vectors) if len(vectors) > 1 else None


def _intervals(binned: Binned, ratios: Ratios, how: Options) -> Intervals:
    """Every figure in resamples of the queries, all from the same ones."""
    names = ["pooled", "f1", *map(_name, how.precisions), *ratios]
    above, below = (np.stack(side, axis=1) for side in zip(*ratios.values(), strict=True))
    edges = np.r_[binned.edges, np.nan]  # the last for a precision that no threshold reaches

    def statistics(weights: Floats) -> Floats:
        totals = binned.totals(weights)
        up = from_here_on(totals[0]), from_here_on(totals[1])
        cuts = [for_f1(*up), *(for_precision(*up, wanted=wanted) for wanted in how.precisions)]
        with np.errstate(invalid="ignore"):
            quotients = (weights @ above) / (weights @ below)
        return np.column_stack([binned.auc(*totals), *(edges[cut] for cut in cuts), quotients])

    values = resample(len(binned.positives), statistics, samples=how.samples, seed=how.seed)
    shares = np.isfinite(values).mean(axis=0)
    return {
        name: (*percentiles(column, how.confidence), float(share)) if share else (np.nan, np.nan, 0.0)
        for name, column, share in zip(names, values.T, shares, strict=True)
    }


def _auc(pairs: Pairs, aucs: Floats, spans: Intervals) -> dict[str, Any]:
    own = int((~np.isnan(aucs)).sum())
    return {
        "pooled": {"value": auc(*pairs.sides), **_span(spans["pooled"])},
        "per_query": {"value": float(np.nanmean(aucs)), **_span(spans["per_query"]), "queries": own},
        "without_shift": auc(*without_shift(pairs).sides),
        "variance_between": variance_between(pairs),
    }


def _roc(pairs: Pairs) -> list[list[float | None]]:
    curve = roc(*pairs.sides, points=POINTS)
    rows = zip(curve.false_positive_rate, curve.true_positive_rate, curve.thresholds, strict=True)
    return [[float(x), float(y), float(t) if np.isfinite(t) else None] for x, y, t in rows]


def _thresholds(pairs: Pairs, chosen: Mapping[str, Taken], spans: Intervals, how: Options) -> dict[str, Any]:
    """Each threshold with what it does to these pairs, and `held_out`: with what those of other queries do."""
    curve, positives = Curve.of(pairs), int(pairs.relevant.sum())

    def full(name: str, found: dict[str, Any]) -> dict[str, Any]:
        held = summed(chosen[name], positives) | _span(spans[f"held_out_{name}"])
        return {**found, **_span(spans[name]), "reached_in": spans[name][2], "held_out": held}

    return {
        "f1": full("f1", best_f1(pairs, curve)),
        "precision": [full(_name(wanted), best_for(pairs, curve, wanted)) for wanted in how.precisions],
    }


def _histograms(pairs: Pairs) -> dict[str, Any]:
    low, high = float(pairs.scores.min()), float(pairs.scores.max())
    sides = {"positives": pairs.scores[pairs.relevant], "negatives": pairs.scores[~pairs.relevant]}
    means = {f"mean_{name}": float(side.mean()) for name, side in sides.items()}
    if low == high:
        low, high = low - 0.5, high + 0.5
    return {**{name: histogram(side, low=low, high=high) for name, side in sides.items()}, **means}


def _counts(pairs: Pairs) -> dict[str, int]:
    positives = int(pairs.relevant.sum())
    return {
        "queries": pairs.count,
        "positives": positives,
        "negatives": len(pairs.relevant) - positives,
        "queries_without_positives": pairs.without_positives,
    }


def _notes(pairs: Pairs, calibration: Mapping[str, Any] | None) -> list[str]:
    notes = []
    if pairs.without_positives:
        notes.append(f"queries to which nothing is relevant, left out: {pairs.without_positives:,}")
    if calibration is None:
        notes.append("too few queries for any to be calibrated by the others")
    elif calibration["temperature"] is None or calibration["temperature"] < 0:
        notes.append("scores do not rise with relevance: the calibration is of no use")
    return notes


def _span(interval: tuple[float, float, float]) -> dict[str, float | None]:
    low, high, share = interval
    return {"low": low if share else None, "high": high if share else None}


def _name(wanted: float) -> str:
    return f"precision {wanted:g}"
