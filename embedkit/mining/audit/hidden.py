"""How many negatives are false, by hiding known positives: what would the filters have made of them? [R] ours.

Each positive of a query with several is hidden in turn: it is no positive any more, nothing excludes it, and filters
and sampling choose again. The share of hidden positives that become negatives, w, is measured, for the filters as they
are. How many relevant documents there are that nobody labelled is not. Of all relevant documents let c be labelled;
then (1 - c) / c are unlabelled for each labelled one, and

    false negatives = w · (labelled positives) · (1 - c) / c

if the unlabelled score as the labelled do ("selected completely at random"), which does not hold for an encoder that
was trained on these labels. c = 1/2 is given for scale: a c that is known from elsewhere turns it into any other. The
data themselves tell only that c is at least the share of labelled ones among documents of any kind that scores alone
tell (Elkan and Noto, https://doi.org/10.1145/1401890.1401920); the best of a few kinds is taken, first candidates that
score high. So the rate has a bound from above, and none from below but zero: labels may be complete.

Intervals are exact ones with queries as clusters, and allow for the chance in what the unlabelled ones score; where w
and c come together, both hold at once at 95 %. A hidden positive competes with those that nobody labelled, one more
than there are, and is held against one positive less: where ranks or the lowest positive decide, w errs upwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embedkit.core.errors import DataError
from embedkit.mining.audit.proportions import clustered_interval, exact_interval, told
from embedkit.mining.audit.sampled import Sample, draw_queries
from embedkit.mining.filters import Candidates, Filter
from embedkit.mining.miner import CHOSEN, choose_negatives
from embedkit.mining.sampling import Sampling

_CELLS: Final = 1 << 20  # candidates that are looked at, at most
_HIDDEN: Final = 10  # positives of one query that are hidden, at most
_EACH: Final = 0.975
_SHARES: Final = (1.0, 0.5, 0.25, 0.125)
ASSUMPTION: Final = (
    "if unlabelled relevant documents score as labelled ones do, to an encoder not trained on the labels"
)


@dataclass(frozen=True)
class Rules:
    """What the negatives of a mined set were chosen by."""

    filters: Sequence[Filter]
    count: int
    sampling: Sampling
    from_labels: frozenset[str] = frozenset()  # signals made from the labels: a hidden positive would still be in them


def hidden_positives(folder: Path, doc_ids: Sequence[str], rules: Rules, *, seed: int = 0) -> dict[str, Any]:
    """The estimate as stats.json has it, or `{"missing": why}`."""
    sample, totals = draw_queries(folder, doc_ids, cells=_CELLS, seed=seed)
    if sample is None:
        return {"missing": "no query has a candidate"}
    several = np.array([len(rows) > 1 for rows in sample.positives])
    if not several.any():
        return {"missing": "no query has several positives, so none can be hidden"}
    try:
        again = choose_negatives(sample.candidates, rules.filters, count=rules.count, sampling=rules.sampling)
    except DataError as error:
        return {"missing": f"the filters cannot be asked again: {error}"}
    faithful = ((again.reasons == CHOSEN) == sample.chosen).all(axis=1)
    tested = np.flatnonzero(several & faithful)
    if 2 * len(tested) < np.count_nonzero(several):
        return {"missing": "the filters need scores of positives that candidates.parquet does not have"}
    kept, hidden = _hide(sample, tested, rules, seed)
    labelled = np.array([len(sample.positives[query]) for query in tested.tolist()])
    found = _estimate(kept / hidden * labelled, labelled, sample, **totals)
    skipped = [rule.kind for rule in rules.filters if rules.from_labels.intersection(rule.signals)]
    counts = {"queries": len(tested), "hidden": int(hidden.sum()), "kept": int(kept.sum())}
    return {**counts, **found, "without_filters": skipped, "assumption": ASSUMPTION}


def _estimate(
    kept: NDArray[np.float64], labelled: NDArray[np.int64], sample: Sample, *, positives: int, negatives: int
) -> dict[str, Any]:
    """Survival w, completeness c, and the rates they give; `kept` counts each query's positives, hidden or not."""
    survival = float(kept.sum() / labelled.sum())
    scale = positives / negatives if negatives else 0.0
    known = _labelled_share(sample)

    def rate(w: float, c: float) -> float:
        return min(1.0, w * scale * (1 - c) / c) if c > 0 else 1.0

    half = clustered_interval(kept, labelled, others=positives)
    both = clustered_interval(kept, labelled, confidence=_EACH, others=positives)
    return {
        "survival": told(survival, clustered_interval(kept, labelled)),
        "labelled": known,
        "rate_if_half_is_labelled": told(rate(survival, 0.5), (rate(half[0], 0.5), rate(half[1], 0.5))),
        "rate_at_most": told(rate(survival, known["value"]), (0.0, rate(both[1], known["low"]))),
    }


def _labelled_share(sample: Sample) -> dict[str, float]:
    """How many first candidates are labelled, among the queries whose first candidates score highest: of those parts of
    all queries that are tried, the one where they most surely are many. The ends hold for all parts at once."""
    order = np.argsort(-np.nan_to_num(sample.first_scores, nan=-np.inf), kind="stable")
    best = {"value": 0.0, "low": 0.0, "high": 1.0, "queries": len(order)}
    for share in _SHARES:
        n = max(1, round(share * len(order)))
        hits = int(sample.first_is_known[order[:n]].sum())
        found = told(hits / n, exact_interval(hits, n, confidence=1 - (1 - _EACH) / len(_SHARES)))
        if found["low"] > best["low"]:
            best = {**found, "queries": n}
    return best


def _hide(
    sample: Sample, tested: NDArray[np.int64], rules: Rules, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Per tested query, how many positives became negatives when hidden, and how many were hidden."""
    filters = [rule for rule in rules.filters if not rules.from_labels.intersection(rule.signals)]
    rng = np.random.default_rng(seed)
    kept, hidden = np.zeros((2, len(tested)), dtype=np.int64)
    at: list[tuple[int, int, int, int]] = []  # place in `tested`, query, its positive, column
    for place, query in enumerate(tested.tolist()):
        own = sample.positives[query]
        some = rng.permutation(len(own))[:_HIDDEN]
        hidden[place] = len(some)
        for positive in some.tolist():
            columns = np.flatnonzero(sample.candidates.rows[query] == own[positive])
            at += [(place, query, positive, int(column)) for column in columns]
    step = max(1, _CELLS // max(sample.chosen.shape[1], 1))
    for start in range(0, len(at), step):
        some_at = np.array(at[start : start + step], dtype=np.int64)
        choice = choose_negatives(_without(sample, some_at), filters, count=rules.count, sampling=rules.sampling)
        became = choice.reasons[np.arange(len(some_at)), some_at[:, 3]] == CHOSEN
        np.add.at(kept, some_at[:, 0], became)
    return kept, hidden


def _without(sample: Sample, at: NDArray[np.int64]) -> Candidates:
    """A query for each entry of `at`, its positive there hidden."""
    given, entries = sample.candidates, np.arange(len(at))
    excluded = {}
    for reason, mask in given.excluded.items():
        excluded[reason] = mask[at[:, 1]]
        excluded[reason][entries, at[:, 3]] = False
    return replace(
        given,
        query_ids=[given.query_ids[query] for query in at[:, 1].tolist()],
        rows=given.rows[at[:, 1]],
        scores={name: scores[at[:, 1]] for name, scores in given.scores.items()},
        positives={
            name: [np.delete(lists[query], positive) for _, query, positive, _ in at.tolist()]
            for name, lists in given.positives.items()
        },
        excluded=excluded,
    )
