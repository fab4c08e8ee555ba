"""The teach stage at work: pools of documents, teachers' scores of them, and the check that they are worth learning."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from embedkit.core.columns import places, taken
from embedkit.core.errors import DataError, ModelError, StageError
from embedkit.core.records import Corpus, Qrels, Queries, open_corpus, open_queries
from embedkit.core.stage import Artifact, Context
from embedkit.mining.pool import Pool
from embedkit.mining.rerank import METRIC, Rerank, compare
from embedkit.mining.teacher import Rows, Scorer, Scores
from embedkit.retrieval.encoder import StoredEncoder, open_encoder
from embedkit.retrieval.nearest import Floats, Vectors

if TYPE_CHECKING:
    from embedkit.mining.teach import Teach

_SUSPICIOUS: Final = 0.2  # share of negatives above their positive that is worth a warning


@dataclass(frozen=True)
class Classroom:
    """The student, its opened teachers and the corpus they judge. Texts and vectors stay on the disk."""

    spec: "Teach"
    context: Context
    corpus: Corpus
    queries: Queries
    documents: Sequence[str]  # N texts
    student: StoredEncoder
    asked: Vectors  # (Q, D), the student's, of the queries that will be graded
    pool: Pool  # of the student's vectors of documents
    scorers: Sequence[Scorer]
    labels: Sequence[Mapping[str, Any]]

    @staticmethod
    def open(spec: "Teach", inputs: Mapping[str, Artifact], context: Context, asked: Sequence[str] = ()) -> "Classroom":
        """Encode and index the corpus. `asked`: texts of the Q queries that will be graded, encoded together so that no
        score depends on how many of them are graded at a time."""
        data = inputs[spec.data].path
        corpus = open_corpus(data, context.work)
        documents = corpus.documents()
        student = open_encoder(inputs[spec.student].path, context)
        vectors, queries = student.stored("document", documents), student.stored("query", asked)
        depth = min(spec.depth, len(documents))
        return Classroom(
            spec=spec,
            context=context,
            corpus=corpus,
            queries=open_queries(data, context.work),
            documents=documents,
            student=student,
            asked=queries,
            pool=Pool.open(spec.index, vectors, None, queries, context, top_k=depth),
            scorers=[teacher.open(documents, inputs, context, queries=asked) for teacher in spec.teachers],
            labels=[{**teacher.label(inputs), "weight": teacher.weight} for teacher in spec.teachers],
        )

    def nearest(self, queries: Floats) -> tuple[list[Rows], list[Floats]]:
        """Per query (Q, D), rows and scores of the student's best `depth` documents, best first."""
        rows, scores = self.pool.search(queries, self.spec.depth, self.context.progress)
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
        queries = taken(self.queries.texts, places(self.queries.ids, list(judged)))
        pools, own = self.nearest(self.student.queries(queries))
        scores = self.score(queries, pools)
        outcome = compare(judged, self.corpus.ids, pools, student=own, teachers=scores, fused=self.fuse(scores))
        if not outcome.better and self.spec.if_not_better == "refuse":
            raise StageError(f"{_verdict(outcome)}. Change the teachers or weights, or set if_not_better: warn")
        return outcome

    def told(self, outcome: Rerank) -> str:
        """The check in one line."""
        teachers = ", ".join(
            f"{_name(label)} {score:.3f}" for label, score in zip(self.labels, outcome.teachers, strict=True)
        )
        interval = outcome.interval
        return (
            f"the student's best {self.spec.depth} documents for {outcome.queries:,} {self.spec.split} queries, "
            f"{METRIC} of their order: student {outcome.student:.3f}, {teachers}, fused {outcome.fused:.3f} "
            f"({interval.difference:+.3f}, 95 % interval {interval.low:+.3f} to {interval.high:+.3f})"
        )


def warnings_of(outcome: Rerank, share: float, *, drops: bool) -> Iterator[str]:
    """What a reader should know; `share` of the negatives are above their positive, and dropped if `drops`."""
    if not outcome.better:
        yield _verdict(outcome)
    elif outcome.interval.low <= 0:
        yield "the teachers' lead over the student is within its 95 % interval of zero; more queries would tell"
    if share > _SUSPICIOUS and not drops:
        yield (
            f"{share:.0%} of the negatives score above their query's positive and may be false negatives; "
            "drop_above_positive: true leaves them out"
        )


def _name(label: Mapping[str, Any]) -> str:
    """A teacher as a reader meets it: its kind, and which model."""
    which = label.get("hub") or str(label.get("model", ""))[:8]
    return f"{label['kind']} {which}".strip()


def _verdict(outcome: Rerank) -> str:
    return (
        f"the teachers order the student's candidates no better than the student does: {METRIC} "
        f"{outcome.fused:.4f} against {outcome.student:.4f} on {outcome.queries:,} queries"
    )
