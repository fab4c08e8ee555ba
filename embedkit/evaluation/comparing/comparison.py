"""Systems against a baseline, task by task and over all of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final, Literal

import numpy as np

from embedkit.core.errors import DataError, RecipeError
from embedkit.core.progress import Advance, Progress, silent
from embedkit.evaluation.comparing.pairing import MAIN, Paired, Pairing, pair
from embedkit.evaluation.comparing.systems import System
from embedkit.measures.bootstrap import Bootstrap, bootstrap_average, bootstrap_items, bootstrap_means
from embedkit.measures.corrections import holm
from embedkit.measures.effect import Record, effect_size, wins_ties_losses
from embedkit.measures.randomization import Randomization, randomize_average, randomize_items, randomize_means
from embedkit.measures.statistics import StatisticName, value

_FEWEST: Final = 5  # samples beyond the end of an interval

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
    effect: float | None
    record: Record | None  # None where there are no values to count
    p: float  # of the randomisation test, corrected for how many tests there are

    @property
    def difference(self) -> float:
        """Candidate less baseline."""
        return self.bootstrap.difference

    def verdict(self, confidence: float) -> Verdict:
        """What the corrected test says."""
        if self.p > 1 - confidence:
            return "unclear"
        return "better" if self.difference > 0 else "worse"


@dataclass(frozen=True)
class Against:
    """One candidate against the baseline."""

    candidate: str
    tasks: Sequence[Finding]
    overall: Finding | None  # None where there is one task only
    pairs: Sequence[Paired]
    notes: Sequence[str]
    gaps: Sequence[str]  # those of the notes that tell what the candidate lacks

    @property
    def whole(self) -> Finding:
        """The mean over tasks, or the only task."""
        return self.overall or self.tasks[0]


@dataclass(frozen=True)
class Comparison:
    """All candidates against the baseline on one metric."""

    baseline: str
    metric: str
    how: How
    candidates: Sequence[Against]
    notes: Sequence[str] = ()


def compare(
    base: System,
    candidates: Sequence[System],
    *,
    metric: str = MAIN,
    tasks: Sequence[str] = (),
    how: How | None = None,
    progress: Progress = silent,
) -> Comparison:
    """Every candidate against `base`, on what both have.

    The mean over tasks gives each group of tasks the same weight, and each task of a group. p-values are corrected in
    two families: the candidates' means over tasks, or their only task; and all tasks of all candidates.
    Raises `RecipeError` if there are too few samples for the confidence asked for, `DataError` as `pair` does.
    """
    how = how or How()
    check_samples(how.samples, (1 - how.confidence) / 2, f"an interval of {how.confidence:.6g}")
    pairings = [pair(base, candidate, metric, tasks) for candidate in candidates]
    with progress("resampling", sum(len(pairing.tasks) for pairing in pairings)) as advance:
        found = [
            _against(base, candidate, pairing, how, advance)
            for candidate, pairing in zip(candidates, pairings, strict=True)
        ]
    if how.correction == "none":
        return Comparison(base.name, metric, how, found)
    return Comparison(base.name, metric, how, _corrected(found), _coarse(found, how))


def check_samples(samples: int, tail: float, what: str) -> None:
    """Raise a `RecipeError` if the end of an interval would rest on a handful of samples."""
    if samples * tail < _FEWEST - 1e-9:
        raise RecipeError(
            f"{samples:,} samples are too few for {what}; take at least {math.ceil(_FEWEST / tail - 1e-6):,}"
        )


def average(findings: Sequence[Finding], name: str = "") -> Finding:
    """The mean over tasks: these stay as they are, their queries or items are drawn again in each."""
    weights = _weights([finding.group for finding in findings])
    effects = [finding.effect for finding in findings]
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
        bootstrap=bootstrap_average([finding.bootstrap for finding in findings], weights),
        randomization=randomization,
        effect=None if any(e is None for e in effects) else _dot(weights, [e or 0.0 for e in effects]),
        record=wins_ties_losses([finding.difference for finding in findings]),
        p=randomization.p,
    )


def _against(base: System, candidate: System, pairing: Pairing, how: How, advance: Advance) -> Against:
    tried = []
    for paired in pairing.tasks:
        tried.append((paired, _finding(paired, how)))
        advance(1)
    found = [finding for _, finding in tried if finding is not None]
    undefined = [
        f"{paired.task}: left out, its {paired.metric} is undefined, as where a model gives all items one score"
        for paired, finding in tried
        if finding is None
    ]
    if not found:
        raise DataError(f"nothing to compare {candidate.name} and {base.name} by. {undefined[0]}")
    overall = average(found) if len(found) > 1 else None
    notes, gaps = [*undefined, *pairing.notes], [*undefined, *pairing.gaps]
    return Against(candidate.name, found, overall, pairing.tasks, notes, gaps)


def _finding(paired: Paired, how: How) -> Finding | None:
    draws, swaps = (_generator(how.seed, paired.task, purpose) for purpose in ("bootstrap", "randomization"))
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
    )


def _generator(seed: int, task: str, purpose: str) -> np.random.Generator:
    """A stream of its own for every task: of tasks with as many queries as each other, one stream would draw the same
    queries in all, and their errors would add up instead of averaging out. Other tasks do not move it."""
    name = sha256(f"{purpose}/{task}".encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(name[:16], dtype=np.uint32).tolist()])


def _weights(groups: Sequence[str]) -> list[float]:
    """Of the mean of the groups' means."""
    distinct = len(set(groups))
    return [1 / (distinct * groups.count(group)) for group in groups]


def _coarse(found: Sequence[Against], how: How) -> list[str]:
    """A note if the smallest p that so many samples can give is not small after the correction."""
    tests = max(len(found), sum(len(against.tasks) for against in found if against.overall))
    if tests / (how.samples + 1) <= 1 - how.confidence:
        return []
    return [
        f"{tests:,} tests of {how.samples:,} samples each: none can be told apart after the correction; take at least "
        f"{math.ceil(tests / (1 - how.confidence) - 1e-6):,}"
    ]


def _corrected(found: Sequence[Against]) -> list[Against]:
    wholes = holm([against.whole.p for against in found])
    each = iter(holm([finding.p for against in found if against.overall for finding in against.tasks]))
    result = []
    for against, p in zip(found, wholes, strict=True):
        if against.overall is None:
            result.append(replace(against, tasks=[replace(against.tasks[0], p=p)]))
        else:
            tasks = [replace(finding, p=next(each)) for finding in against.tasks]
            result.append(replace(against, tasks=tasks, overall=replace(against.overall, p=p)))
    return result


def _dot(weights: Sequence[float], values: Sequence[float]) -> float:
    return sum(weight * value for weight, value in zip(weights, values, strict=True))
