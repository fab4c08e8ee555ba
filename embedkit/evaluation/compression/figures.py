"""What a variant costs: each query's metrics beside those of the full vectors, and which variants are worth a look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.core.records import Qrels
from embedkit.evaluation.compression.searches import Search
from embedkit.measures.ranking import PerQuery, per_query
from embedkit.measures.significance import paired_bootstrap
from embedkit.retrieval.nearest import Doubles, Rows
from embedkit.retrieval.recall import hit_rates


@dataclass(frozen=True)
class Found:
    """What a search found for Q queries: rows and scores (Q, K), best first."""

    rows: Rows
    scores: Doubles

    def without(self, own: Rows) -> "Found":
        """The same without each query's document `own` (Q,), -1 for none; without its last one where that is not
        among them."""
        kept = self.rows != own[:, None]
        kept[kept.all(axis=1), -1] = False
        shape = len(self.rows), self.rows.shape[1] - 1
        return Found(self.rows[kept].reshape(shape), self.scores[kept].reshape(shape))


@dataclass(frozen=True)
class Judged:
    """The queries of a split in the order they are searched in, and what is known of them."""

    query_ids: Sequence[str]
    doc_ids: Sequence[str]
    qrels: Qrels

    def measure(self, found: Found, full: Found, metrics: Sequence[str], cuts: Sequence[int]) -> PerQuery:
        """query_id -> metric -> value, and `overlap@k` for each of `cuts`: the share of the first k of the full
        vectors' ranking that are among the first k of this one."""
        distinct = np.unique(found.rows)
        names = [self.doc_ids[row] for row in distinct.tolist()]
        where: list[list[int]] = np.searchsorted(distinct, found.rows).tolist()
        scored: list[list[float]] = found.scores.tolist()
        run = {
            query: {names[place]: score for place, score in zip(mine, scores, strict=True)}
            for query, mine, scores in zip(self.query_ids, where, scored, strict=True)
        }
        values = per_query(run, self.qrels, metrics)
        shared = {f"overlap@{k}": hit_rates(found.rows[:, :k], full.rows[:, :k]).tolist() for k in cuts}
        return {
            query: {**values[query], **{name: rates[i] for name, rates in shared.items()}}
            for i, query in enumerate(self.query_ids)
        }


@dataclass(frozen=True)
class Resampling:
    """How intervals are made: queries drawn anew `samples` times."""

    samples: int
    confidence: float
    seed: int


def sizes(search: Search, documents: int) -> dict[str, float]:
    """Bytes: of what is kept of a document, of the part of that which is searched, and of all documents together."""
    kept = search.stored.values()
    each = sum(one.document_bytes for one in kept)
    tables = sum(one.table_bytes for one in kept)
    return {"document": each, "searched": search.kept.document_bytes, "corpus": each * documents + tables}


def compare(values: PerQuery, full: PerQuery, how: Resampling) -> dict[str, dict[str, float]]:
    """metric -> mean, and the difference from `full` with its interval, paired by query id."""
    first = next(iter(full.values()))
    found = {}
    for metric in next(iter(values.values())):
        ours = np.array([row[metric] for row in values.values()])
        found[metric] = {"mean": float(ours.mean())}
        if metric in first:
            theirs = np.array([full[query][metric] for query in values])
            span = paired_bootstrap(ours, theirs, samples=how.samples, confidence=how.confidence, seed=how.seed)
            found[metric] |= {"difference": span.difference, "low": span.low, "high": span.high, "p": span.p}
    return found


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which of the points (bytes, value) no other beats: none has a value as high in fewer bytes, or a higher one in as
    many."""
    return [
        not any((b <= bytes_ and v > value) or (b < bytes_ and v >= value) for b, v in points)
        for bytes_, value in points
    ]


def summary(rows: Sequence[Mapping[str, Any]], metric: str) -> list[str]:
    """A line each: the full vectors, and the variants on the front."""
    full = rows[0]
    lines = [f"full vectors: {metric} {full['metrics'][metric]['mean']:.4f}, {full['bytes']['document']:,} bytes each"]
    for row in rows[1:]:
        found = row["metrics"][metric]
        if row["front"]:
            less = full["bytes"]["document"] / row["bytes"]["document"]
            lines.append(
                f"{row['name']}: {metric} {found['mean']:.4f} "
                f"({found['difference']:+.4f}, {found['low']:+.4f} to {found['high']:+.4f}), {less:.3g} times smaller"
            )
    return lines
