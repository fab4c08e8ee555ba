"""Pairs as training sees them: distinct texts by number, and rows that say which texts belong together."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from embedkit.core.errors import DataError
from embedkit.core.records import Pair, Pairs
from embedkit.losses.base import Need


@dataclass(frozen=True)
class Row:
    """One training query. Texts are numbers; equal texts have equal numbers, whatever their ids."""

    query_id: str
    query: int
    positives: tuple[int, ...]
    negatives: tuple[int, ...] = ()
    positive_targets: tuple[float, ...] = ()
    negative_targets: tuple[float, ...] = ()


@dataclass(frozen=True)
class Examples:
    """All rows training can use."""

    queries: Sequence[str]  # text by number
    documents: Sequence[str]
    rows: Sequence[Row]
    known: Sequence[frozenset[int]]  # by query: documents relevant to it, its positives included
    skipped: Mapping[str, int]  # why a row or negative was left out -> how many
    suspects: Mapping[int, frozenset[int]] = field(default_factory=dict)  # by query: documents that may be relevant
    taught: Mapping[int, Mapping[int, float]] = field(default_factory=dict)  # by query: targets from all of its rows
    query_classes: Mapping[int, int] = field(default_factory=dict)  # of texts that have one
    document_classes: Mapping[int, int] = field(default_factory=dict)


def examples_of(pairs: Pairs, *, needs: Set[Need] = frozenset()) -> Examples:
    """The rows of `pairs` that a loss with these `needs` can be trained on.

    Negatives that are known or suspected to be relevant under another id or text are dropped. A `DataError` if an id
    has no text, no row is left, or classes are needed and no query has one.
    """
    queries, query_of = _numbers(pairs.query_texts())
    documents, document_of = _numbers(pairs.document_texts())
    known, suspects = _relevant(pairs, query_of, document_of)
    skipped: Counter[str] = Counter()
    taught: dict[int, dict[int, float]] = defaultdict(dict)
    rows = []
    for pair in pairs.rows:
        query = query_of[pair.query_id]
        if reason := _unusable(pair, queries[query], needs):
            skipped[reason] += 1
            continue
        negatives = {_lookup(document_of, d, "document") for d in pair.negatives}
        skipped["negatives known to be relevant"] += len(negatives & known[query])
        skipped["negatives that may be relevant"] += len(negatives & suspects[query])
        rows.append(_row(pair, query, document_of, known[query] | suspects[query]))
        if "taught" in needs:
            taught[query] = _targets(pair, document_of) | taught[query]
    if not rows:
        found = ", ".join(f"{n} {why}" for why, n in sorted(skipped.items())) or "it is empty"
        raise DataError(f"pairs: none of {len(pairs.rows)} rows can be trained on: {found}")
    of_queries, of_documents = _classes(pairs, query_of, document_of, known) if "classes" in needs else ({}, {})
    return Examples(
        queries=queries,
        documents=documents,
        rows=rows,
        known=[frozenset(known[i]) for i in range(len(queries))],
        skipped=dict(sorted((+skipped).items())),
        suspects={query: frozenset(some) for query, some in suspects.items() if some},
        taught=dict(taught),
        query_classes=of_queries,
        document_classes=of_documents,
    )


def _relevant(
    pairs: Pairs, query_of: Mapping[str, int], document_of: Mapping[str, int]
) -> tuple[dict[int, set[int]], dict[int, set[int]]]:
    """By query: the documents known to be relevant to its text, and those that may be."""
    known: dict[int, set[int]] = defaultdict(set)
    suspects: dict[int, set[int]] = defaultdict(set)
    for pair in pairs.rows:
        query = _lookup(query_of, pair.query_id, "query")
        known[query].update(_lookup(document_of, d, "document") for d in (*pair.positives, *pair.known))
        suspects[query].update(_lookup(document_of, d, "document") for d in pair.suspects)
    for query, some in suspects.items():
        some -= known[query]
    return known, suspects


def _targets(pair: Pair, document_of: Mapping[str, int]) -> dict[int, float]:
    documents = [document_of[d] for d in (*pair.positives, *pair.negatives)]
    return _distinct(documents, (*pair.positive_targets, *pair.negative_targets))


def _classes(
    pairs: Pairs, query_of: Mapping[str, int], document_of: Mapping[str, int], known: Mapping[int, set[int]]
) -> tuple[dict[int, int], dict[int, int]]:
    """By query and by document: its class, where it has one. A document without one is of its query's.

    Of texts with several classes, and of documents relevant to queries of several, the first counts.
    """
    numbers: dict[str, int] = {}
    queries: dict[int, int] = {}
    documents: dict[int, int] = {}
    for table, of, result in ((pairs.queries, query_of, queries), (pairs.corpus, document_of, documents)):
        for name, label in zip(table.ids, table.classes, strict=False):
            if label:
                result.setdefault(of[name], numbers.setdefault(label, len(numbers)))
    for query in sorted(queries):
        for document in sorted(known.get(query, ())):
            documents.setdefault(document, queries[query])
    if not any(query_of[pair.query_id] in queries for pair in pairs.rows):
        raise DataError(
            "pairs: no query has a class, which this loss needs; the `data` stage reads classes from the column its "
            "source names (class_field, or columns.query_class)"
        )
    return queries, documents


def _numbers(texts: Mapping[str, str]) -> tuple[list[str], dict[str, int]]:
    """Distinct texts in order of first use, and the number of each id's text."""
    number: dict[str, int] = {}
    of = {name: number.setdefault(text, len(number)) for name, text in texts.items()}
    return list(number), of


def _lookup(numbers: Mapping[str, int], name: str, what: str) -> int:
    try:
        return numbers[name]
    except KeyError:
        raise DataError(f"pairs: {what} {name!r} has no text") from None


def _unusable(pair: Pair, text: str, needs: Set[Need]) -> str | None:
    if not text.strip():
        return "rows with an empty query"
    if not pair.positives:
        return "rows without a positive"
    if "targets" in needs:
        scores = (*pair.positive_targets, *pair.negative_targets)
        if len(scores) != len(pair.positives) + len(pair.negatives) or not all(map(_is_number, scores)):
            return "rows without target scores"
    if "negatives" in needs and not pair.negatives:
        return "rows without negatives"
    return None


def _is_number(score: float | None) -> bool:
    return score is not None and math.isfinite(score)


def _row(pair: Pair, query: int, document_of: Mapping[str, int], relevant: Set[int]) -> Row:
    positives = _distinct((_lookup(document_of, d, "document") for d in pair.positives), pair.positive_targets)
    candidates = _distinct((_lookup(document_of, d, "document") for d in pair.negatives), pair.negative_targets)
    negatives = {d: target for d, target in candidates.items() if d not in relevant}
    return Row(
        pair.query_id, query, tuple(positives), tuple(negatives), tuple(positives.values()), tuple(negatives.values())
    )


def _distinct(documents: Iterable[int], targets: Sequence[float]) -> dict[int, float]:
    """Document -> target, each document once; 0 where there are no targets."""
    result: dict[int, float] = {}
    for i, document in enumerate(documents):
        result.setdefault(document, targets[i] if i < len(targets) else 0.0)
    return result
