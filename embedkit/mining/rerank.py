"""Does a teacher order the student's candidates better than the student does?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from embedkit.core.records import Qrels
from embedkit.measures.ranking import mean_scores, per_query
from embedkit.measures.significance import Interval, paired_bootstrap
from embedkit.mining.teacher import Rows, Scores

METRIC: Final = "ndcg@10"


@dataclass(frozen=True)
class Rerank:
    """What orderings of the same candidates reach: nDCG@10, means over the queries."""

    queries: int
    student: float
    teachers: tuple[float, ...]
    fused: float
    interval: Interval  # of fused - student, 95 %

    @property
    def better(self) -> bool:
        """Whether the fused teacher orders better than the student."""
        return self.fused > self.student

    def stats(self, labels: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """As it stands in stats.json."""
        teachers = [{**label, "score": score} for label, score in zip(labels, self.teachers, strict=True)]
        interval = {name: getattr(self.interval, name) for name in ("difference", "low", "high", "p")}
        return {
            "metric": METRIC,
            "queries": self.queries,
            "student": self.student,
            "teachers": teachers,
            "fused": self.fused,
            **interval,
        }


def compare(
    qrels: Qrels,
    doc_ids: Sequence[str],
    pools: Sequence[Rows],
    *,
    student: Sequence[Scores],
    teachers: Sequence[Sequence[Scores]],
    fused: Sequence[Scores],
) -> Rerank:
    """Rank every judged query's pool by each score and measure the orders. Pools are in the order of `qrels`."""

    def measure(scores: Sequence[Scores]) -> dict[str, dict[str, float]]:
        run = {
            query: {doc_ids[row]: float(score) for row, score in zip(rows, values, strict=True)}
            for query, rows, values in zip(qrels, pools, scores, strict=True)
        }
        return per_query(run, qrels, (METRIC,))

    base, best = measure(student), measure(fused)
    interval = paired_bootstrap([best[q][METRIC] for q in qrels], [base[q][METRIC] for q in qrels])
    return Rerank(
        queries=len(qrels),
        student=mean_scores(base)[METRIC],
        teachers=tuple(mean_scores(measure(scores))[METRIC] for scores in teachers),
        fused=mean_scores(best)[METRIC],
        interval=interval,
    )
