"""Pairs as training sees them: distinct texts by number, and rows that say which texts belong together."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

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


def examples_of(pairs: Pairs, *, needs: Set[Need] = frozenset()) -> Examples:
    """The rows of `pairs` that a loss with these `needs` can be trained on.

    Negatives that are known to be relevant under another id or text are dropped. A `DataError` if an id has no text
    or no row is left.
    """
    queries, query_of = _numbers(pairs.query_texts())
    documents, document_of = _numbers(pairs.document_texts())
    known: dict[int, set[int]] = defaultdict(set)
    for pair in pairs.rows:
        relevant = (*pair.positives, *pair.known)
        known[_lookup(query_of, pair.query_id, "query")].update(_lookup(document_of, d, "document") for d in relevant)
    skipped: Counter[str] = Counter()
    rows = []
    for pair in pairs.rows:
        query = query_of[pair.query_id]
        if reason := _unusable(pair, queries[query], needs):
            skipped[reason] += 1
        else:
            row = _row(pair, query, document_of, known[query])
            skipped["negatives known to be relevant"] += len(set(pair.negatives)) - len(row.negatives)
            rows.append(row)
    if not rows:
        found = ", ".join(f"{n} {why}" for why, n in sorted(skipped.items())) or "it is empty"
        raise DataError(f"pairs: none of {len(pairs.rows)} rows can be trained on: {found}")
    return Examples(
        queries, documents, rows, [frozenset(known[i]) for i in range(len(queries))], dict(sorted((+skipped).items()))
    )


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


def _row(pair: Pair, query: int, document_of: Mapping[str, int], known: set[int]) -> Row:
    positives = _distinct((_lookup(document_of, d, "document") for d in pair.positives), pair.positive_targets)
    candidates = _distinct((_lookup(document_of, d, "document") for d in pair.negatives), pair.negative_targets)
    negatives = {d: target for d, target in candidates.items() if d not in known}
    return Row(
        pair.query_id, query, tuple(positives), tuple(negatives), tuple(positives.values()), tuple(negatives.values())
    )


def _distinct(documents: Iterable[int], targets: Sequence[float]) -> dict[int, float]:
    """Document -> target, each document once; 0 where there are no targets."""
    result: dict[int, float] = {}
    for i, document in enumerate(documents):
        result.setdefault(document, targets[i] if i < len(targets) else 0.0)
    return result
