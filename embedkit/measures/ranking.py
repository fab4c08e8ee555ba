"""How good rankings are, query by query, as trec_eval computes it.

A *run* gives each query the scores of its retrieved documents. Documents are ranked by score, equal scores by document
id, the greater id first: trec_eval's rule, which mteb follows too. A document is relevant if its relevance is above 0;
nDCG's gain is the relevance itself (not 2^relevance - 1).

    ndcg@k         DCG of the first k / DCG of the best possible k, DCG = Σ gain / log2(rank + 1)
    map@k          sum of the precisions at the relevant documents among the first k / number of relevant documents
    recall@k       share of the relevant documents that are among the first k
    precision@k    relevant documents among the first k / k
    mrr@k          1 / rank of the first relevant document if it is among the first k, else 0

Reference: https://github.com/usnistgov/trec_eval; https://dl.acm.org/doi/10.1145/3209978.3210065 (pytrec_eval).
"""

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

from embedkit.core.errors import RecipeError, did_you_mean

Run = dict[str, dict[str, float]]  # query_id -> doc_id -> score
PerQuery = dict[str, dict[str, float]]  # query_id -> metric -> value

_TREC: Final = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "precision": "P"}
FAMILIES: Final = (*_TREC, "mrr")
_AT_A_TIME: Final = 256  # queries whose documents are copied


def per_query(
    run: Mapping[str, Mapping[str, float]], qrels: Mapping[str, Mapping[str, int]], metrics: Sequence[str]
) -> PerQuery:
    """Every judged query's value of every metric, in the order of `qrels`.

    A judged query that the run lacks scores 0, and so does one whose documents are all judged irrelevant (trec_eval and
    mteb count it too). A query without any judgement is left out. Raises `RecipeError` on an unknown metric.
    """
    cutoffs = {metric: parse_metric(metric) for metric in metrics}
    judged = {query: docs for query, docs in qrels.items() if docs}
    values: PerQuery = {}
    queries = iter(judged)
    while some := list(islice(queries, _AT_A_TIME)):
        values |= _measured({query: judged[query] for query in some}, run, cutoffs)
    return values


def _measured(
    judged: Mapping[str, Mapping[str, int]],
    run: Mapping[str, Mapping[str, float]],
    cutoffs: Mapping[str, tuple[str, int]],
) -> PerQuery:
    """The values of these queries."""
    import pytrec_eval

    found = {query: dict(run[query]) for query in judged if run.get(query)}
    relevant = {query: dict(docs) for query, docs in judged.items()}
    measures = {f"{_TREC[family]}.{k}" for family, k in cutoffs.values() if family in _TREC}
    values = pytrec_eval.RelevanceEvaluator(relevant, measures).evaluate(found) if measures and found else {}
    return {
        query: {
            metric: _reciprocal_rank(found.get(query, {}), relevant[query], k)
            if family == "mrr"
            else float(values.get(query, {}).get(f"{_TREC[family]}_{k}", 0.0))
            for metric, (family, k) in cutoffs.items()
        }
        for query in judged
    }


def mean_scores(values: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """metric -> mean over the queries; empty if there are none."""
    sums: dict[str, float] = {}
    for metrics in values.values():
        for metric, value in metrics.items():
            sums[metric] = sums.get(metric, 0.0) + value
    return {metric: total / len(values) for metric, total in sums.items()}


def ranked(scores: Mapping[str, float]) -> list[str]:
    """Documents best first; of equal scores, the higher id first, as trec_eval ranks them."""
    return sorted(scores, key=lambda doc: (scores[doc], doc), reverse=True)


def parse_metric(name: str) -> tuple[str, int]:
    """`"ndcg@10"` -> `("ndcg", 10)`. Raises `RecipeError` if there is no such metric."""
    match = re.fullmatch(r"([a-z_]+)@([1-9][0-9]*)", name)
    if match is None or match[1] not in FAMILIES:
        known = ", ".join(f"{family}@k" for family in FAMILIES)
        raise RecipeError(f"metric {name!r} is unknown{_hint(name)}. There are {known}, with k from 1")
    return match[1], int(match[2])


def _hint(name: str) -> str:
    family, at, cutoff = name.lower().replace("_at_", "@").partition("@")
    close = did_you_mean(family, FAMILIES)
    return f"{close[:-2]}@{cutoff if at and cutoff.isdecimal() and int(cutoff) else 10}'?" if close else ""


def _reciprocal_rank(scores: Mapping[str, float], relevances: Mapping[str, int], k: int) -> float:
    """trec_eval's recip_rank, but of the first `k` documents only."""
    return next((1.0 / rank for rank, doc in enumerate(ranked(scores)[:k], start=1) if relevances.get(doc, 0) > 0), 0.0)
