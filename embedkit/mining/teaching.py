"""The teach stage at work: pools of documents, teachers' scores of them, the check, the targets."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from embedkit.core.errors import DataError, ModelError, StageError
from embedkit.core.pairs import Pair, Pairs
from embedkit.core.records import Corpus, Qrels, Queries, read_corpus, read_queries
from embedkit.core.stage import Artifact, Context
from embedkit.mining.audit import histograms
from embedkit.mining.rerank import METRIC, Rerank, compare
from embedkit.mining.teacher import Rows, Scorer, Scores
from embedkit.retrieval.encoder import StoredEncoder, open_encoder
from embedkit.retrieval.nearest import Vectors

if TYPE_CHECKING:
    from embedkit.mining.teach import Teach

T = TypeVar("T")
_SUSPICIOUS = 0.2  # share of negatives above their positive that is worth a warning


@dataclass(frozen=True)
class Classroom:
    """The student, its opened teachers and the corpus they judge."""

    spec: "Teach"
    context: Context
    corpus: Corpus
    queries: Queries
    documents: Sequence[str]  # N texts
    student: StoredEncoder
    vectors: Vectors  # (N, D), the student's
    scorers: Sequence[Scorer]
    labels: Sequence[Mapping[str, Any]]

    @staticmethod
    def open(spec: "Teach", inputs: Mapping[str, Artifact], context: Context) -> "Classroom":
        """Encode and index the corpus."""
        data = inputs[spec.data].path
        corpus = read_corpus(data)
        documents = corpus.full_texts()
        student = open_encoder(inputs[spec.student].path, context)
        return Classroom(
            spec=spec,
            context=context,
            corpus=corpus,
            queries=read_queries(data),
            documents=documents,
            student=student,
            vectors=student.stored("document", documents),
            scorers=[teacher.open(documents, inputs, context) for teacher in spec.teachers],
            labels=[{**teacher.label(inputs), "weight": teacher.weight} for teacher in spec.teachers],
        )

    def nearest(self, queries: Sequence[str]) -> tuple[list[Rows], list[Scores]]:
        """Per query, rows and scores of the student's best `depth` documents, best first."""
        depth = min(self.spec.depth, len(self.documents))
        rows, scores = self.spec.index.search(self.student.queries(queries), self.vectors, depth, self.context.progress)
        return list(rows), list(scores)

    def score(self, queries: Sequence[str], pools: Sequence[Rows]) -> list[list[Scores]]:
        """Every teacher's scores of every pool. Raises `ModelError` on scores that are no numbers."""
        scores = [scorer(queries, pools) for scorer in self.scorers]
        for label, lists in zip(self.labels, scores, strict=True):
            if not all(np.isfinite(some).all() for some in lists):
                raise ModelError(f"teachers: {_name(label)} gives scores that are not finite numbers")
        return scores

    def fuse(self, scores: Sequence[Sequence[Scores]]) -> list[Scores]:
        """One score a document of every pool."""
        weights = [teacher.weight for teacher in self.spec.teachers]
        return [self.spec.fusion(of_query, weights) for of_query in zip(*scores, strict=True)]

    def check(self, qrels: Qrels) -> Rerank:
        """Compare student and teachers on judged queries. Raises `StageError` if the teachers are no better."""
        judged = {query: docs for query, docs in qrels.items() if any(r > 0 for r in docs.values())}
        if not judged:
            raise DataError(f"data: no {self.spec.split} query has a relevant document; the teachers cannot be checked")
        texts = dict(zip(self.queries.ids, self.queries.texts, strict=True))
        queries = [texts[query] for query in judged]
        pools, own = self.nearest(queries)
        scores = self.score(queries, pools)
        outcome = compare(judged, self.corpus.ids, pools, student=own, teachers=scores, fused=self.fuse(scores))
        if not outcome.better and self.spec.if_not_better == "refuse":
            raise StageError(f"{_verdict(outcome)}. Change the teachers or weights, or set if_not_better: warn")
        return outcome


@dataclass(frozen=True)
class Graded:
    """Pairs with targets, and what was counted on the way."""

    rows: Sequence[Pair]
    scored: int  # (query, document) pairs, by each teacher
    above: int  # negatives above their query's lowest positive
    dropped: int  # of those
    positives: Sequence[float]  # targets
    negatives: Sequence[float]

    def stats(self, outcome: Rerank, room: Classroom) -> dict[str, Any]:
        """stats.json of the teach stage."""
        share = self.above / max(len(self.negatives), 1)
        counts = {
            "queries": len(self.rows),
            "scored_pairs": self.scored,
            "negatives": len(self.negatives),
            "negatives_above_positive": self.above,
            "negatives_dropped": self.dropped,
        }
        return {
            "summary": [
                _orders(outcome, room),
                f"{self.above:,} of {len(self.negatives):,} negatives ({share:.1%}) score above their query's positive"
                + (f"; {self.dropped:,} dropped" if self.dropped else ""),
            ],
            "counts": counts,
            "rerank": {"depth": room.spec.depth, "split": room.spec.split, **outcome.stats(room.labels)},
            "above_positive": share,
            "histograms": histograms({"positive_targets": self.positives, "negative_targets": self.negatives}),
            "warnings": list(_warnings(outcome, share, drops=room.spec.drop_above_positive)),
        }


def grade(room: Classroom, pairs: Pairs, *, drop_above_positive: bool) -> Graded:
    """The pairs with the fused teachers' scores as targets. Raises `DataError` for documents not in the corpus."""
    lists = _rows_of(room, pairs)
    texts = pairs.query_texts()
    queries = [texts[row.query_id] for row in pairs.rows]
    nearest, _ = room.nearest(queries)
    pools = [_union(own, best) for own, best in zip(lists, nearest, strict=True)]
    fused = room.fuse(room.score(queries, pools))
    marks = [
        _mark(pair, own, pool, scores) for pair, own, pool, scores in zip(pairs.rows, lists, pools, fused, strict=True)
    ]
    rows = [mark.kept() if drop_above_positive else mark.pair for mark in marks]
    above = sum(sum(mark.above) for mark in marks)
    return Graded(
        rows=rows,
        scored=sum(map(len, pools)),
        above=above,
        dropped=above if drop_above_positive else 0,
        positives=[target for mark in marks for target in mark.pair.positive_targets],
        negatives=[target for mark in marks for target in mark.pair.negative_targets],
    )


@dataclass(frozen=True)
class _Mark:
    """A pair with its targets, and which of its negatives lie above its lowest positive."""

    pair: Pair
    above: Sequence[bool]

    def kept(self) -> Pair:
        """The pair with those negatives among its suspects."""
        above = (doc for doc, is_above in zip(self.pair.negatives, self.above, strict=True) if is_above)
        return replace(
            self.pair,
            suspects=tuple(dict.fromkeys((*self.pair.suspects, *above))),
            negatives=self._below(self.pair.negatives),
            negative_scores=self._below(self.pair.negative_scores),
            negative_targets=self._below(self.pair.negative_targets),
        )

    def _below(self, values: tuple[T, ...]) -> tuple[T, ...]:
        return tuple(v for v, above in zip(values, self.above, strict=True) if not above) if values else ()


def _mark(pair: Pair, own: Rows, pool: Rows, scores: Scores) -> _Mark:
    place = {row: i for i, row in enumerate(pool.tolist())}
    targets = [float(scores[place[row]]) for row in own.tolist()]
    positives, negatives = targets[: len(pair.positives)], targets[len(pair.positives) :]
    marked = replace(pair, positive_targets=tuple(positives), negative_targets=tuple(negatives))
    return _Mark(marked, [target > min(positives) for target in negatives])


def _union(own: Rows, best: Rows) -> Rows:
    """Rows of either, each once, `own` first."""
    return np.array(list(dict.fromkeys([*own.tolist(), *best.tolist()])), dtype=np.int64)


def _rows_of(room: Classroom, pairs: Pairs) -> list[Rows]:
    """Corpus rows of each pair's positives and negatives."""
    row_of = {doc: row for row, doc in enumerate(room.corpus.ids)}
    texts = pairs.document_texts()
    used = dict.fromkeys(doc for pair in pairs.rows for doc in (*pair.positives, *pair.negatives))
    for doc in used:
        if doc not in row_of or room.documents[row_of[doc]] != texts[doc]:
            found = "is not there" if doc not in row_of else "has another text there"
            raise DataError(f"pairs: teach scores pairs over the corpus of `data`; document {doc!r} {found}")
    return [np.array([row_of[doc] for doc in (*p.positives, *p.negatives)], dtype=np.int64) for p in pairs.rows]


def _name(label: Mapping[str, Any]) -> str:
    """A teacher as a reader meets it: its kind, and which model."""
    which = label.get("hub") or str(label.get("model", ""))[:8]
    return f"{label['kind']} {which}".strip()


def _orders(outcome: Rerank, room: Classroom) -> str:
    teachers = ", ".join(
        f"{_name(label)} {score:.3f}" for label, score in zip(room.labels, outcome.teachers, strict=True)
    )
    interval = outcome.interval
    return (
        f"the student's best {room.spec.depth} documents for {outcome.queries:,} {room.spec.split} queries, "
        f"{METRIC} of their order: student {outcome.student:.3f}, {teachers}, fused {outcome.fused:.3f} "
        f"({interval.difference:+.3f}, 95 % interval {interval.low:+.3f} to {interval.high:+.3f})"
    )


def _verdict(outcome: Rerank) -> str:
    return (
        f"the teachers order the student's candidates no better than the student does: {METRIC} "
        f"{outcome.fused:.4f} against {outcome.student:.4f} on {outcome.queries:,} queries"
    )


def _warnings(outcome: Rerank, share: float, *, drops: bool) -> Iterator[str]:
    if not outcome.better:
        yield _verdict(outcome)
    elif outcome.interval.low <= 0:
        yield "the teachers' lead over the student is within its 95 % interval of zero; more queries would tell"
    if share > _SUSPICIOUS and not drops:
        yield (
            f"{share:.0%} of the negatives score above their query's positive and may be false negatives; "
            "drop_above_positive: true leaves them out"
        )
