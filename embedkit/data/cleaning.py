"""A dataset made fit to train and test on: duplicates merged, a dev or test split held out, splits kept apart."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import Field, NonNegativeInt

from embedkit.core.columns import Rows
from embedkit.core.dataset import Dataset
from embedkit.core.errors import DataError
from embedkit.core.progress import Progress, silent
from embedkit.core.records import SPLITS, Corpus, Qrels
from embedkit.core.spec import Spec
from embedkit.core.text import normalised
from embedkit.measures.duplicates import NearDuplicates, crowded

_PROTECTED: Final = {"dev": ("test",), "train": ("test", "dev")}  # a split gives way to those


class HoldOut(Spec):
    """A share of the training queries that becomes another split."""

    share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    seed: NonNegativeInt = 0


@dataclass(frozen=True, slots=True)
class Removed:
    """A document or query that another one stands for, or that must not be in its split."""

    role: Literal["document", "query"]
    removed: str
    kept: str
    why: Literal["exact", "near"]
    similarity: float
    split: str = ""  # of a removed query
    kept_split: str = ""  # of the query it is too close to


@dataclass
class Cleaned:
    """A cleaned dataset and what cleaning did."""

    dataset: Dataset
    merged: list[Removed] = field(default_factory=list)
    leaks: list[Removed] = field(default_factory=list)
    unjudged: int = 0  # queries that no split judges, left out


def clean(
    dataset: Dataset,
    *,
    exact: bool = True,
    near: float | None = 0.9,
    hold_out: Mapping[str, HoldOut] | None = None,
    progress: Progress = silent,
) -> Cleaned:
    """Merge duplicates, hold splits out, and remove from each split what another must not see.

    - A document whose title and text equal an earlier one's (or nearly: `near`) goes; its judgements become those of
      the one that stays. The higher relevance wins.
    - Queries of one split with equal texts become the first of them.
    - `hold_out` splits are drawn from train, query by query.
    - A train query equal or near to a dev or test query goes with all its pairs, and so does a dev query equal or near
      to a test query.
    """
    judged = {query for qrels in dataset.qrels.values() for query in qrels}
    result = Cleaned(dataset, unjudged=sum(query not in judged for query in dataset.queries.ids))
    if exact or near is not None:
        _merge_documents(result, exact, near, progress)
    if exact:
        _merge_queries(result)
    for split, spec in sorted((hold_out or {}).items(), reverse=True):  # test before dev
        _hold_out(result, split, spec)
    _drop_leaks(result, near, progress)
    _leave_judged(result)
    return result


def _merge_documents(result: Cleaned, exact: bool, near: float | None, progress: Progress) -> None:
    corpus = result.dataset.corpus
    merged = _equal_documents(corpus) if exact else []
    if near is not None:
        merged += _near_documents(corpus, _rows_without(corpus, {r.removed for r in merged}), near, progress)
    if not merged:
        return
    stays = {r.removed: r.kept for r in merged}
    merged = [
        replace(r, kept=stays.get(r.kept, r.kept)) for r in merged
    ]  # what an exact one equals may be near another
    stays = {r.removed: r.kept for r in merged}
    kept = corpus.take(_rows_without(corpus, stays))
    qrels = {split: _repointed(judged, stays) for split, judged in result.dataset.qrels.items()}
    result.dataset = replace(result.dataset, corpus=kept, qrels=qrels)
    result.merged += merged


def _rows_without(corpus: Corpus, ids: Container[str]) -> Rows:
    return np.fromiter((row for row, key in enumerate(corpus.ids) if key not in ids), dtype=np.int64)


def _equal_documents(corpus: Corpus) -> list[Removed]:
    """Documents whose text an earlier one has. Of all texts only digests are held, and equal ones are looked at."""
    documents = corpus.documents()
    digests = np.fromiter((_digest(text) for text in documents), dtype=np.uint64, count=len(documents))
    first: dict[str, int] = {}
    found = []
    for row in crowded(digests[:, None]).tolist():
        kept = first.setdefault(normalised(documents[row]), row)
        if kept != row:
            found.append(Removed("document", corpus.ids[row], corpus.ids[kept], "exact", 1.0))
    return found


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(normalised(text).encode(), digest_size=8).digest(), "little")


def _near_documents(corpus: Corpus, rows: Rows, near: float, progress: Progress) -> list[Removed]:
    """Of the documents in `rows`, those that are near an earlier one that stays."""
    index, documents = NearDuplicates(near), corpus.documents()
    with progress("sketching documents", len(rows)) as advance:
        keys = np.empty((len(rows), index.keys), dtype=np.uint64)
        for i, row in enumerate(rows.tolist()):
            keys[i] = index.keys_of(index.sketch(documents[row]))
            advance(1)
    removed = []
    close = rows[crowded(keys)]  # all others share no key with any, so nothing is near them
    with progress("finding near duplicates", len(close)) as advance:
        for row in close.tolist():
            sketch = index.sketch(documents[row])
            if match := index.match(sketch):
                removed.append(Removed("document", corpus.ids[row], corpus.ids[match.key], "near", match.similarity))
            else:
                index.add(row, sketch)
            advance(1)
    return removed


def _repointed(qrels: Qrels, stays: Mapping[str, str]) -> Qrels:
    result: Qrels = {}
    for query, judged in qrels.items():
        merged = result.setdefault(query, {})
        for document, relevance in judged.items():
            kept = stays.get(document, document)
            merged[kept] = max(relevance, merged.get(kept, relevance))
    return result


def _merge_queries(result: Cleaned) -> None:
    texts = _texts(result.dataset)
    qrels = {}
    for split, judged in result.dataset.qrels.items():
        first: dict[str, str] = {}
        merged: Qrels = {}
        for query, documents in judged.items():
            kept = first.setdefault(normalised(texts[query]), query)
            row = merged.setdefault(kept, {})
            for document, relevance in documents.items():
                row[document] = max(relevance, row.get(document, relevance))
            if kept != query:
                result.merged.append(Removed("query", query, kept, "exact", 1.0, split, split))
        qrels[split] = merged
    result.dataset = replace(result.dataset, qrels=qrels)


def _hold_out(result: Cleaned, split: str, spec: HoldOut) -> None:
    qrels = dict(result.dataset.qrels)
    if split in qrels:
        raise DataError(f"{split}: the source has a {split} split of its own; take `{split}` out of the recipe")
    train = list(qrels.get("train", {}))
    count = max(1, round(spec.share * len(train)))
    if count >= len(train):
        raise DataError(f"{split}: train has {len(train)} queries; holding {count} out would leave none to train on")
    drawn = np.random.default_rng(spec.seed).choice(len(train), size=count, replace=False)
    taken = {train[i] for i in drawn}
    qrels[split] = {q: d for q, d in qrels["train"].items() if q in taken}
    qrels["train"] = {q: d for q, d in qrels["train"].items() if q not in taken}
    result.dataset = replace(result.dataset, qrels={s: qrels[s] for s in SPLITS if s in qrels})


def _drop_leaks(result: Cleaned, near: float | None, progress: Progress) -> None:
    texts = _texts(result.dataset)
    qrels = dict(result.dataset.qrels)
    for split, others in _PROTECTED.items():
        held = _HeldOut([(q, other, texts[q]) for other in others for q in qrels.get(other, {})], near)
        kept: Qrels = {}
        with progress(f"keeping {split} apart", len(qrels.get(split, {}))) as advance:
            for query, documents in qrels.get(split, {}).items():
                if leak := held.find(query, split, texts[query]):
                    result.leaks.append(leak)
                else:
                    kept[query] = documents
                advance(1)
        qrels[split] = kept
    result.dataset = replace(result.dataset, qrels={s: qrels[s] for s in SPLITS if qrels.get(s)})


class _HeldOut:
    """Queries that no other split may have."""

    def __init__(self, queries: Sequence[tuple[str, str, str]], near: float | None) -> None:
        self.queries = queries  # query_id, split, text
        self.equal: dict[str, int] = {}
        self.index = NearDuplicates(near) if near is not None and queries else None
        for i, (_, _, text) in enumerate(queries):
            self.equal.setdefault(normalised(text), i)
            if self.index is not None:
                self.index.add(i, self.index.sketch(text))

    def find(self, query: str, split: str, text: str) -> Removed | None:
        """The leak, if `text` equals a held-out query or is near one."""
        if (same := self.equal.get(normalised(text))) is not None:
            return Removed("query", query, self.queries[same][0], "exact", 1.0, split, self.queries[same][1])
        if self.index is not None and (match := self.index.match(self.index.sketch(text))):
            kept, other, _ = self.queries[match.key]
            return Removed("query", query, kept, "near", match.similarity, split, other)
        return None


def _leave_judged(result: Cleaned) -> None:
    queries = result.dataset.queries
    judged = {query for qrels in result.dataset.qrels.values() for query in qrels}
    rows = [i for i, key in enumerate(queries.ids) if key in judged]
    result.dataset = replace(result.dataset, queries=queries.take(rows))


def _texts(dataset: Dataset) -> dict[str, str]:
    return dict(zip(dataset.queries.ids, dataset.queries.texts, strict=True))
