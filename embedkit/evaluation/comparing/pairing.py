"""What two systems have in common: the tasks, and the queries or items of each, on one metric."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedkit.core.errors import DataError, did_you_mean
from embedkit.core.scores import Items, Statistic
from embedkit.evaluation.comparing.systems import Reached, System
from embedkit.measures.statistics import STATISTICS

MAIN: Final = "main"  # stands for each task's own metric
_SHOWN: Final = 8  # names in a message
_UNITS: Final = {"Classification": "texts", "Clustering": "experiments"}  # of mteb's types of task; else queries
_FEW: Final = 50  # units below which intervals are too narrow, see eval/quality/results/intervals.md
_SHARED: Final = 1.25  # sets of queries over their union; numbers that are the same by chance stay below
_FEW_DIFFER: Final = 10  # the same of units that differ: of like systems most do not

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Paired:
    """Two systems on one task, one by one; values of queries, or predictions of items and what is true of them."""

    task: str
    group: str
    metric: str
    statistic: Statistic
    ids: Sequence[str]
    base: Floats  # (n,)
    candidate: Floats  # (n,)
    targets: Floats | None = None  # (n,)
    unit: str = "queries"  # what the n are


@dataclass(frozen=True)
class Pairing:
    """All tasks of two systems that can be compared. `notes` say what was left out; `gaps`, what of it the candidate
    lacks but the baseline has."""

    tasks: Sequence[Paired]
    notes: Sequence[str]
    gaps: Sequence[str]


def pair(base: System, candidate: System, metric: str, tasks: Sequence[str] = ()) -> Pairing:
    """Pair two systems on `metric`, on all tasks both have or those of `tasks`, by task or group.

    Raises `DataError` where nothing could be compared, or what could be would mislead: no task in common, a metric one
    lacks, other data under the same name.
    """
    chosen = _chosen(base, candidate, tasks)
    common = [task for task in base.tasks if task in candidate.tasks and task in chosen]
    if not common:
        raise DataError(
            f"{candidate.name} and {base.name} have no task in common: {_listed(candidate.tasks)} against "
            f"{_listed(base.tasks)}"
        )
    gaps = [f"{task}: {candidate.name} was not scored on it" for task in base.tasks if task in chosen - {*common}]
    notes = [f"{task}: {base.name} was not scored on it" for task in candidate.tasks if task in chosen - {*common}]
    found = []
    for task in common:
        ours, theirs = candidate.tasks[task], base.tasks[task]
        _check_data(task, base, candidate)
        name = _metric(task, metric, base, candidate)
        paired = _pair(task, name, theirs, ours)
        if paired is None:
            told = gaps if _one_by_one(name, theirs) else notes
            told.append(f"{task}: left out, {_why_not(name, base, theirs, candidate, ours)}")
            continue
        found.append(paired)
        notes += _cautions(paired)
        gaps += _missing(paired, base, theirs, candidate)
        notes += _missing(paired, candidate, ours, base)
    if not found:
        raise _no_metric(metric, base, candidate, common, [*gaps, *notes])
    return Pairing(found, [*gaps, *notes, *_overlaps(found)], gaps)


def _pair(task: str, metric: str, base: Reached, candidate: Reached) -> Paired | None:
    """The two on one task, or None if they do not both have the metric one by one. Queries are sorted: the order of
    rows must not move an interval."""
    group = base.scores.group or task
    if not (_one_by_one(metric, base) and _one_by_one(metric, candidate)):
        return None
    statistic = _statistic(metric, base)
    if statistic is not None and base.items is not None and candidate.items is not None:
        ids, (a, b) = _items(task, base.items, candidate.items)
        targets = np.asarray([base.items.targets[i] for i in a])
        left, right = base.items.predictions[a], candidate.items.predictions[b]
        if not np.array_equal(targets, candidate.items.targets[b]):
            raise DataError(f"{task}: what is true of its items differs between the two; they are other data")
        return Paired(task, group, metric, statistic, ids, left, right, targets, "items")
    scored = [{q for q, row in side.per_query.items() if metric in row} for side in (base, candidate)]
    ids = sorted(scored[0] & scored[1])
    if not ids:
        raise DataError(f"{task}: the two have no query in common; are their ids of the same data?")
    left, right = (np.array([side.per_query[q][metric] for q in ids]) for side in (base, candidate))
    return Paired(task, group, metric, "mean", ids, left, right, None, _UNITS.get(base.scores.type, "queries"))


def _one_by_one(metric: str, reached: Reached) -> bool:
    """Whether more is known than one number of the whole task."""
    if _statistic(metric, reached) is not None:
        return reached.items is not None
    return any(metric in row for row in reached.per_query.values())


def _why_not(metric: str, base: System, theirs: Reached, candidate: System, ours: Reached) -> str:
    sides = ((base, theirs), (candidate, ours))
    if lacking := [system.name for system, reached in sides if metric not in reached.scores.metrics]:
        return f"{' and '.join(lacking)} {'have' if len(lacking) > 1 else 'has'} no {metric} on it"
    whole = next(system.name for system, reached in sides if not _one_by_one(metric, reached))
    return f"{metric} of {whole} is known as a whole only: there is nothing to resample"


def _statistic(metric: str, reached: Reached) -> Statistic | None:
    """What the metric is of the task's items, which hold what the main metric is made of; None of other metrics."""
    scores = reached.scores
    return scores.statistic if metric == scores.main_metric and scores.statistic in STATISTICS else None


def _items(task: str, a: Items, b: Items) -> tuple[list[str], tuple[list[int], list[int]]]:
    places_a, places_b = ({id_: row for row, id_ in enumerate(side.ids)} for side in (a, b))
    ids = sorted(places_a.keys() & places_b.keys())
    if not ids:
        raise DataError(f"{task}: the two have no item in common; are their ids of the same data?")
    return ids, ([places_a[i] for i in ids], [places_b[i] for i in ids])


def _metric(task: str, metric: str, base: System, candidate: System) -> str:
    if metric != MAIN:
        return metric
    ours, theirs = (side.tasks[task].scores.main_metric for side in (candidate, base))
    if ours != theirs:
        raise DataError(
            f"{task}: the main metric of {base.name} is {theirs}, of {candidate.name} {ours}; say which with --metric"
        )
    return theirs


def _check_data(task: str, base: System, candidate: System) -> None:
    theirs, ours = base.tasks[task].scores.revision, candidate.tasks[task].scores.revision
    if theirs and ours and theirs != ours:
        raise DataError(
            f"{task}: {base.name} was scored on revision {theirs[:12]} of its data, {candidate.name} on {ours[:12]}; "
            "such scores do not compare. Score both on one, or choose other tasks with --tasks"
        )


def _chosen(base: System, candidate: System, wanted: Sequence[str]) -> set[str]:
    names = {task: {task, side.tasks[task].scores.group or task} for side in (base, candidate) for task in side.tasks}
    known = sorted(set().union(*names.values()))
    for name in wanted:
        if name not in known:
            raise DataError(f"task {name!r} is unknown{did_you_mean(name, known)}; there are {_listed(known)}")
    return {task for task, its in names.items() if not wanted or its & {*wanted}}


def _missing(paired: Paired, one: System, its: Reached, other: System) -> list[str]:
    """A line if `one` has units that were left out because `other` lacks them."""
    if paired.targets is not None and its.items is not None:
        total = len(its.items.ids)
    else:
        total = sum(paired.metric in row for row in its.per_query.values())
    missing = total - len(paired.ids)
    if not missing:
        return []
    return [
        f"{paired.task}: compared on {len(paired.ids):,} {paired.unit}; {missing:,} more of {one.name} have no score "
        f"of {other.name}"
    ]


def _cautions(paired: Paired) -> list[str]:
    found = []
    if paired.unit == "experiments":
        found.append(f"{paired.task}: its units are experiments on the same texts; of other texts they tell nothing")
    differ = int((paired.base != paired.candidate).sum())
    if len(paired.ids) < _FEW:
        found.append(f"{paired.task}: {len(paired.ids)} {paired.unit} are few; its interval is rather too narrow")
    elif 0 < differ < _FEW_DIFFER:
        found.append(f"{paired.task}: {differ} of {len(paired.ids):,} {paired.unit} differ; its interval is a guess")
    return found


def _overlaps(found: Sequence[Paired]) -> list[str]:
    """A line for each group whose tasks share queries, but not all. Ids of texts and items are row numbers."""
    groups: dict[str, set[frozenset[str]]] = {}
    for paired in found:
        if paired.unit == "queries":
            groups.setdefault(paired.group, set()).add(frozenset(paired.ids))
    return [
        f"{group}: its tasks share some queries, but not all; they are resampled as if they shared none, so that the "
        "interval of their mean is rather too narrow"
        for group, sets in groups.items()
        if sum(map(len, sets)) > _SHARED * len(frozenset().union(*sets))
    ]


def _no_metric(metric: str, base: System, candidate: System, common: Sequence[str], told: Sequence[str]) -> DataError:
    each = [{name for task in common for name in side.tasks[task].scores.metrics} for side in (base, candidate)]
    lacking = [side.name for side, has in zip((base, candidate), each, strict=True) if metric not in has]
    if metric != MAIN and lacking:
        known = sorted(each[0] & each[1])
        hint = did_you_mean(metric.replace("_at_", "@"), known)
        who = f"{' and '.join(lacking)} {'lack' if len(lacking) > 1 else 'lacks'}"
        return DataError(f"metric {metric!r}: {who} it; both have {_listed(known)}{hint}")
    return DataError(f"nothing to compare {candidate.name} and {base.name} by. {told[0]}")


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    rest = len(found) - _SHOWN
    return ", ".join(found[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
