"""The difference between two systems on a task, and on the mean over tasks.

Subsets of a group often have the same queries: translations of one set, as in Belebele or MASSIVE. A query that a
system answers better in one language it tends to answer better in all, so these are not so many independent tasks. Of a
group, tasks whose units have the same ids are therefore resampled together: a draw has the same queries in all, a swap
exchanges the systems on a query in all of them or in none. Where equal ids stand for unlike units, row numbers of
unrelated texts, this costs nothing: what does not vary together does not add up either. Tasks that have a part of their
ids in common are drawn independently.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

import numpy as np

from embedkit.evaluation.comparing.pairing import MAIN, Paired
from embedkit.measures.bootstrap import Bootstrap, bootstrap_average, bootstrap_items, bootstrap_means
from embedkit.measures.effect import Record, effect_size, wins_ties_losses
from embedkit.measures.randomization import Randomization, randomize_average, randomize_items, randomize_means
from embedkit.measures.statistics import StatisticName, value

Correction = Literal["holm", "none"]
Verdict = Literal["better", "worse", "unclear"]


@dataclass(frozen=True)
class How:
    """How differences are tested."""

    samples: int = 10_000
    confidence: float = 0.95
    seed: int = 0
    correction: Correction = "holm"


@dataclass(frozen=True)
class Finding:
    """The difference of a candidate from the baseline on one task, or on the mean over tasks."""

    task: str  # "" for the mean over tasks
    group: str
    metric: str
    statistic: str
    unit: str  # what the wins are counted in: queries, items or tasks
    units: int
    base: float
    candidate: float
    bootstrap: Bootstrap
    randomization: Randomization
    effect: float | None  # None where it cannot be told, and of the mean over tasks, whose units are not of one kind
    record: Record | None  # None where there are no values to count
    p: float  # of the randomisation test, corrected for how many tests there are
    drawn: str = ""  # a name of what was drawn and swapped: findings that share it had the same of it

    @property
    def difference(self) -> float:
        """Candidate less baseline."""
        return self.bootstrap.difference

    def verdict(self, confidence: float) -> Verdict:
        """What the corrected test says."""
        if self.p > 1 - confidence:
            return "unclear"
        return "better" if self.difference > 0 else "worse"


def find(paired: Paired, how: How) -> Finding | None:
    """The difference on one task; None where its statistic is undefined."""
    drawn = _drawn(paired)
    draws, swaps = (_generator(how.seed, drawn, purpose) for purpose in ("bootstrap", "randomization"))
    record = None
    if paired.targets is None:
        differences = paired.candidate - paired.base
        base, candidate = float(paired.base.mean()), float(paired.candidate.mean())
        bootstrap: Bootstrap | None = bootstrap_means(differences, samples=how.samples, rng=draws)
        randomization: Randomization | None = randomize_means(differences, samples=how.samples, rng=swaps)
        record = wins_ties_losses(differences)
    else:
        name: StatisticName = paired.statistic  # type: ignore[assignment]  # pairing gives targets with these only
        columns = (paired.candidate, paired.base, paired.targets)
        base, candidate = (value(name, side, paired.targets) for side in (paired.base, paired.candidate))
        bootstrap = bootstrap_items(name, *columns, samples=how.samples, rng=draws)
        randomization = randomize_items(name, *columns, samples=how.samples, rng=swaps)
    if bootstrap is None or randomization is None:
        return None
    return Finding(
        task=paired.task,
        group=paired.group,
        metric=paired.metric,
        statistic=paired.statistic,
        unit=paired.unit,
        units=len(paired.ids),
        base=base,
        candidate=candidate,
        bootstrap=bootstrap,
        randomization=randomization,
        effect=effect_size(bootstrap.difference, bootstrap.standard_error, len(paired.ids)),
        record=record,
        p=randomization.p,
        drawn=drawn,
    )


def _drawn(paired: Paired) -> str:
    """A name of the units and of the group they are in."""
    return sha256(json.dumps([paired.group, *paired.ids]).encode()).hexdigest()


def _generator(seed: int, drawn: str, purpose: str) -> np.random.Generator:
    """A stream of its own for all tasks of a group that have the same units, and for every other task: of unrelated
    tasks with as many queries as each other, one stream would draw the same queries in all. Other tasks do not move
    it."""
    name = sha256(f"{purpose}/{drawn}".encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(name[:16], dtype=np.uint32).tolist()])


def average(findings: Sequence[Finding], name: str = "") -> Finding:
    """The mean over tasks: these stay as they are, their queries or items are drawn again in each, and together in
    those that share them. It gives each group of tasks the same weight, and each task of a group.

    It has no effect size: a deviation of queries of one kind is what that is counted in. A mean of the tasks' own would
    weigh tasks by how little they vary, and might have another sign than the difference.
    """
    weights = _weights([finding.group for finding in findings])
    bootstraps = [finding.bootstrap for finding in findings]
    randomization = randomize_average([finding.randomization for finding in findings], weights)
    return Finding(
        task=name,
        group=name,
        metric=findings[0].metric if len({f.metric for f in findings}) == 1 else MAIN,
        statistic="mean",
        unit="tasks",
        units=sum(finding.units for finding in findings),
        base=_dot(weights, [finding.base for finding in findings]),
        candidate=_dot(weights, [finding.candidate for finding in findings]),
        bootstrap=bootstrap_average(bootstraps, weights, [finding.drawn for finding in findings]),
        randomization=randomization,
        effect=None,
        record=wins_ties_losses([finding.difference for finding in findings]),
        p=randomization.p,
    )


def _weights(groups: Sequence[str]) -> list[float]:
    """Of the mean of the groups' means."""
    distinct = len(set(groups))
    return [1 / (distinct * groups.count(group)) for group in groups]


def _dot(weights: Sequence[float], values: Sequence[float]) -> float:
    return sum(weight * value for weight, value in zip(weights, values, strict=True))
