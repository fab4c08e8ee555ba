"""Models against each other, query by query, with paired-bootstrap intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from embedkit.core.errors import ArtifactError
from embedkit.core.scores import PerQuery
from embedkit.measures.significance import Interval, paired_bootstrap

Verdict = Literal["higher", "lower", "unclear"]
Values = Mapping[tuple[str, str], PerQuery]  # (model key, task) -> query_id -> metric -> value


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made."""

    samples: int = 10_000
    confidence: float = 0.95
    seed: int = 0


@dataclass(frozen=True)
class Comparison:
    """The mean difference of one model from another on one task, over the same queries."""

    model: str  # key
    reference: str  # key
    task: str
    metric: str
    value: float
    reference_value: float
    interval: Interval
    queries: int

    @property
    def verdict(self) -> Verdict:
        """On which side of zero the whole interval lies."""
        if self.interval.low > 0:
            return "higher"
        return "lower" if self.interval.high < 0 else "unclear"


def compare(values: Values, model: str, reference: str, *, task: str, metric: str, how: Bootstrap) -> Comparison:
    """`model` minus `reference`, paired by query. Raises `ArtifactError` if the queries of the two differ."""
    ours, theirs = values[model, task], values[reference, task]
    if odd := sorted(ours.keys() ^ theirs.keys()):
        raise ArtifactError(
            f"scores of {task}: query {odd[0]!r} was scored for one of {model[:12]} and {reference[:12]} only; "
            "a paired comparison needs the same queries for both"
        )
    ids = sorted(ours)  # the order of rows must not move an interval
    a, b = ([side[i][metric] for i in ids] for side in (ours, theirs))
    interval = paired_bootstrap(a, b, samples=how.samples, confidence=how.confidence, seed=how.seed)
    return Comparison(model, reference, task, metric, sum(a) / len(a), sum(b) / len(b), interval, len(ids))


def best_of(values: Values, models: Sequence[str], *, task: str, metric: str) -> str:
    """Key of the model with the highest mean; the first of equals."""

    def mean(model: str) -> float:
        rows = values[model, task]
        return sum(row[metric] for row in rows.values()) / len(rows)

    return max(models, key=mean)
