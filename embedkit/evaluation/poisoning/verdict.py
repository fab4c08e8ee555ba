"""What an audit comes to: its tests, corrected for how many there are, and what a person would read."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from embedkit.evaluation.poisoning.corpus import CorpusAudit
from embedkit.evaluation.poisoning.training import TrainingAudit
from embedkit.measures.corrections import holm

_NAMES: Final = {
    "excess": "documents stand out both by errors in their text and by being drawn by errors in queries",
    "gain": "one document gains more lists by errors in queries than luck gives any",
    "together": "errors of training queries and of their positives go together",
    "pairs": "training pairs stand out by errors on both sides",
    "contributors": "one contributor gave more suspicious pairs than its share",
    "quota": "one contributor gave more pairs than the quota",
}


def verdict(corpus: CorpusAudit | None, training: TrainingAudit | None, *, false_alarms: float) -> dict[str, Any]:
    """What was found, for people (`lines`) and machines.

    `found` is true if a test's p-value, corrected by Holm for all tests of this audit, is at most `false_alarms`: the
    chance, where what each test assumes of honest data holds, that anything at all is found there.
    """
    told = {"corpus": corpus.told() if corpus else None, "training": training.told() if training else None}
    p = dict(_tests(told))
    adjusted = dict(zip(p, holm(list(p.values())), strict=True))
    tests = [
        {"test": name, "claim": _NAMES[name], "p": p[name], "adjusted": adjusted[name]}
        | {"found": adjusted[name] <= false_alarms}
        for name in p
    ]
    found = any(test["found"] for test in tests)
    result = {"false_alarms": false_alarms, "found": found, "tests": tests, **told}
    return result | {"lines": list(_lines(result))}


def _tests(told: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    if corpus := told["corpus"]:
        yield "excess", corpus["excess"]["p"]
        yield "gain", corpus["largest_gain"]["p"]
    if training := told["training"]:
        yield "together", training["together"]["p"]
        yield "pairs", training["excess"]["p"]
        if len(training["sources"]) > 1:
            yield "contributors", min(source["flagged_p"] for source in training["sources"])
        if training["quota"] is not None:
            yield "quota", min(source["quota_p"] for source in training["sources"])


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    if corpus := result["corpus"]:
        yield from _corpus_lines(corpus)
    if training := result["training"]:
        yield from _training_lines(training)
    level = f"{result['false_alarms']:g}"
    for test in result["tests"]:
        sign = "FOUND" if test["found"] else "no   "
        yield f"{sign}  {test['claim']} (p {_p(test['p'])}, corrected {_p(test['adjusted'])})"
    if result["found"]:
        yield f"found at a false-alarm rate of {level} for the whole audit: read the suspects before trusting the data"
    else:
        yield f"nothing found at a false-alarm rate of {level}; an attack may be too small to be seen"


def _corpus_lines(corpus: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"corpus: {corpus['documents']:,} documents, {corpus['queries']:,} queries as they are and with "
        f"{corpus['errors_per_query']:.1f} grammar errors each, {corpus['k']} best unjudged documents"
    )
    shown = {"skewness": "skewness of N_k", "gini": "Gini", "top_share": "share of the top 0.1 % of documents"}
    changes = (
        f"{text} {corpus['hubness'][name]['plain']:.3f} to {corpus['hubness'][name]['changed']:.3f} "
        f"(p {_p(corpus['hubness'][name]['p'])})"
        for name, text in shown.items()
    )
    yield f"hubness with errors: {', '.join(changes)}"
    ranks = corpus["ranks"]
    if ranks["judged"]:
        yield f"median rank of the first relevant document: {ranks['plain']:g} to {ranks['perturbed']:g}"
    else:
        yield "no query has judgements, so what errors do to relevant documents is not told"
    gain = corpus["largest_gain"]
    yield f"the document that errors put into the most lists, less those it loses: {gain['doc_id']}, {gain['lists']}"


def _training_lines(training: Mapping[str, Any]) -> Iterator[str]:
    sources = training["sources"]
    yield f"training: {training['pairs']:,} pairs of {len(sources)} source(s)"
    for source in sorted(sources, key=lambda source: -source["pairs"])[:10]:
        name = source["source"] or "(no source)"
        quota = f", over the quota p {_p(source['quota_p'])}" if "quota_p" in source else ""
        yield (
            f"  {name}: {source['pairs']:,} pairs ({source['share']:.1%}), {source['flagged']} suspicious "
            f"(p {_p(source['flagged_p'])}); most errors on both sides {source['both']}, by chance "
            f"{source['expected']:.1f} (log odds {source['log_odds']:+.2f}, p {_p(source['p'])}){quota}"
        )


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-4 else f"{value:.0e}"
