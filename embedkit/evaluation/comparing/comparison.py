"""Systems against a baseline, task by task and over all of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from embedkit.core.errors import DataError, RecipeError
from embedkit.core.progress import Advance, Progress, silent
from embedkit.evaluation.comparing.findings import Finding, How, average, find
from embedkit.evaluation.comparing.pairing import MAIN, Paired, Pairing, pair
from embedkit.evaluation.comparing.systems import System
from embedkit.measures.corrections import holm

_FEWEST: Final = 5  # samples beyond the end of an interval


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


def _against(base: System, candidate: System, pairing: Pairing, how: How, advance: Advance) -> Against:
    tried = []
    for paired in pairing.tasks:
        tried.append((paired, find(paired, how)))
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
