"""Models against each other, on the same queries or items, with paired-bootstrap intervals where files tell enough."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self

import numpy as np

from embedkit.core.errors import ArtifactError
from embedkit.core.scores import Items, PerQuery, TaskScores, read_items, read_per_query, read_scores
from embedkit.measures.bootstrap import bootstrap_items
from embedkit.measures.significance import Interval, paired_bootstrap
from embedkit.measures.statistics import StatisticName

Verdict = Literal["higher", "lower", "unclear", "untested"]
_STATISTICS: Final[Mapping[str, StatisticName]] = {
    "spearman": "spearman",
    "pearson": "pearson",
    "average_precision": "average_precision",
}


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made."""

    samples: int = 10_000
    confidence: float = 0.95
    seed: int = 0


@dataclass(frozen=True)
class Evidence:
    """A scores artifact: what models reached on tasks, by (model key, task), and what that is made of."""

    scores: Mapping[tuple[str, str], TaskScores]
    units: Mapping[tuple[str, str], PerQuery]
    items: Mapping[tuple[str, str], Items]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a scores artifact. Raises `ArtifactError` if it is damaged."""
        scores = {(model.key, task): one for model in read_scores(folder) for task, one in model.tasks.items()}
        return cls(scores, read_per_query(folder), read_items(folder))

    @property
    def tasks(self) -> list[str]:
        """The tasks, in the order of the file."""
        return list(dict.fromkeys(task for _, task in self.scores))

    def models(self, task: str | None = None) -> list[str]:
        """Keys of the models that have a score, on any task or on this one."""
        return list(dict.fromkeys(m for (m, t), one in self.scores.items() if one.metrics and task in (None, t)))

    def value(self, model: str, task: str, metric: str) -> float | None:
        """A score as the file has it; None if there is none."""
        one = self.scores.get((model, task))
        return one.metrics.get(metric) if one is not None else None

    def main(self, task: str) -> str | None:
        """The task's own metric; None if it has no score."""
        scored = (one for (_, t), one in self.scores.items() if t == task and one.metrics)
        return next((one.main_metric for one in scored), None)

    def metrics(self, task: str) -> list[str]:
        """All metrics of a task, its own first."""
        names = (name for (_, t), one in self.scores.items() if t == task for name in one.metrics)
        own = self.main(task)
        return list(dict.fromkeys([*([own] if own else []), *names]))


@dataclass(frozen=True)
class Comparison:
    """The difference of one model from another on one task, over the same queries or items."""

    model: str  # key
    reference: str  # key
    task: str
    metric: str
    value: float
    reference_value: float
    interval: Interval | None  # None where nothing is known but the two scores
    queries: int  # or items

    @property
    def difference(self) -> float:
        """The model's score less the reference's."""
        return self.value - self.reference_value

    @property
    def verdict(self) -> Verdict:
        """On which side of zero the whole interval lies."""
        if self.interval is None:
            return "untested"
        if self.interval.low > 0:
            return "higher"
        return "lower" if self.interval.high < 0 else "unclear"


def compare(
    evidence: Evidence, model: str, reference: str, *, task: str, metric: str, how: Bootstrap
) -> Comparison | None:
    """`model` less `reference`, paired by query or item; None unless both have a score.

    Raises `ArtifactError` if the two were scored on other queries or items.
    """
    value, other = (evidence.value(key, task, metric) for key in (model, reference))
    if value is None or other is None:
        return None
    interval = _interval(evidence, model, reference, task, metric, how)
    units = evidence.scores[model, task].queries
    return Comparison(model, reference, task, metric, value, other, interval, units)


def best_of(evidence: Evidence, models: Sequence[str], *, task: str, metric: str) -> str | None:
    """Key of the model with the highest score; the first of equals, None if none has one."""
    scored = {model: value for model in models if (value := evidence.value(model, task, metric)) is not None}
    return max(scored, key=scored.__getitem__) if scored else None


def _interval(
    evidence: Evidence, model: str, reference: str, task: str, metric: str, how: Bootstrap
) -> Interval | None:
    keys = ((model, task), (reference, task))
    one = evidence.scores[model, task]
    if metric == one.main_metric and one.statistic != "mean":
        name = _STATISTICS.get(one.statistic)
        found = [evidence.items[key] for key in keys if key in evidence.items]
        return _of_items(name, *found, keys=keys, how=how) if name and len(found) == 2 else None
    ours, theirs = ({q: row[metric] for q, row in evidence.units.get(key, {}).items() if metric in row} for key in keys)
    if not ours or not theirs:
        return None
    _check({*ours}, {*theirs}, keys)
    ids = sorted(ours)  # the order of rows must not move an interval
    a, b = ([side[i] for i in ids] for side in (ours, theirs))
    return paired_bootstrap(a, b, samples=how.samples, confidence=how.confidence, seed=how.seed)


def _of_items(
    name: StatisticName, ours: Items, theirs: Items, *, keys: Sequence[tuple[str, str]], how: Bootstrap
) -> Interval | None:
    _check(set(ours.ids), set(theirs.ids), keys)
    a, b = (np.argsort(np.asarray(side.ids), kind="stable") for side in (ours, theirs))
    if not np.array_equal(ours.targets[a], theirs.targets[b]):
        raise ArtifactError(f"scores of {keys[0][1]}: what is true of its items differs between two models")
    columns = ours.predictions[a], theirs.predictions[b], ours.targets[a]
    if not all(np.isfinite(column).all() for column in columns):
        return None
    found = bootstrap_items(name, *columns, samples=how.samples, rng=np.random.default_rng(how.seed))
    if found is None:
        return None
    low, high = found.interval(how.confidence)
    return Interval(found.difference, low, high, found.p)


def _check(ours: set[str], theirs: set[str], keys: Sequence[tuple[str, str]]) -> None:
    if odd := sorted(ours ^ theirs):
        (model, task), (reference, _) = keys
        raise ArtifactError(
            f"scores of {task}: query {odd[0]!r} was scored for one of {model[:12]} and {reference[:12]} only; "
            "a paired comparison needs the same queries for both"
        )
