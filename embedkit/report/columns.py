"""The tasks of a leaderboard: what may stand in one column, and what each model has there."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import numpy as np

from embedkit.core.entry import Entry
from embedkit.core.scores import Items, TaskScores
from embedkit.measures.standings import Resampled, average, resample_items, resample_means
from embedkit.measures.statistics import StatisticName

_STATISTICS: Final[Mapping[str, StatisticName]] = {
    "spearman": "spearman",
    "pearson": "pearson",
    "average_precision": "average_precision",
}


@dataclass(frozen=True)
class Column:
    """A task, its metric and its data: scores of one column may be compared."""

    task: str
    metric: str
    type: str
    revision: str  # "": each part has data of its own
    parts: tuple[str, ...]  # tasks of the scores: the task itself, its subsets and splits, or the tasks of a group
    revisions: tuple[str, ...]  # of each part's data

    def value(self, entry: Entry) -> float | None:
        """The mean over the parts; None unless the model has all of them."""
        found = [self._part(entry, *part) for part in zip(self.parts, self.revisions, strict=True)]
        values = [one.metrics[self.metric] for one in found if one is not None]
        return sum(values) / len(values) if len(values) == len(self.parts) else None

    def units(self, entries: Sequence[Entry]) -> int:
        """The number of queries, items or texts, as the files say."""
        return sum(
            max((one.queries for e in entries if (one := self._part(e, *part)) is not None), default=0)
            for part in zip(self.parts, self.revisions, strict=True)
        )

    def _part(self, entry: Entry, part: str, revision: str) -> TaskScores | None:
        one = entry.tasks.get(part)
        fits = one is not None and one.revision == revision and self.metric in one.metrics
        return one if fits else None


def columns(entries: Sequence[Entry], metric: str | None) -> list[Column]:
    """The columns these models need: one a task, metric and revision of data, where tasks of a group that have data
    of their own are one; of these, data of another revision make a column of their own. `metric` is taken where a task
    has it, else the task's main one."""
    parts: dict[tuple[str, str, str, str], dict[str, str]] = {}
    for entry in entries:
        for name, one in entry.tasks.items():
            if not one.metrics:
                continue
            shown = str(metric if metric in one.metrics else one.main_metric)
            same = not one.group or name.startswith(f"{one.group}:")  # subsets and splits share their data
            there = parts.setdefault((one.type, one.group or name, shown, one.revision if same else ""), {})
            if there.setdefault(name, one.revision) != one.revision:
                parts.setdefault((one.type, name, shown, one.revision), {})[name] = one.revision
    return [
        Column(task, shown, kind, revision, *zip(*sorted(names.items()), strict=True))
        for (kind, task, shown, revision), names in sorted(parts.items(), key=lambda one: one[0])
    ]


@dataclass(frozen=True)
class Tested:
    """The models of a column whose files hold what intervals need, and their scores over resamples."""

    rows: Sequence[int]  # places among all models, rising
    found: Resampled

    def of(self, rows: Sequence[int]) -> Resampled:
        """Some of the models."""
        places = [self.rows.index(row) for row in rows]
        strata = tuple((n, covariance[places][:, places]) for n, covariance in self.found.strata)
        return Resampled(self.found.scores[places], self.found.values[places], strata)


def tested(column: Column, entries: Sequence[Entry], *, samples: int, seed: int) -> Tested | None:
    """What resampling tells of a column; None if the files of no model hold what it takes.

    Models must have values of the same queries, or predictions of the same items and targets: those that most have.
    """
    rows = [row for row, entry in enumerate(entries) if column.value(entry) is not None]
    for part in column.parts:
        seen = {row: ids for row in rows if (ids := _identity(entries[row], column, part)) is not None}
        if not seen:
            return None
        common, _ = Counter(seen.values()).most_common(1)[0]
        rows = [row for row in rows if seen.get(row) == common]
    some = [entries[row] for row in rows]
    drawn = [_drawn(column, part, some[0]) for part in column.parts]
    parts = [_resampled(column, part, some, samples, [seed, *d]) for part, d in zip(column.parts, drawn, strict=True)]
    every = Tested(rows, average(parts, [1 / len(parts)] * len(parts), drawn))
    defined = [row for row, score in zip(rows, every.found.scores, strict=True) if np.isfinite(score)]
    return Tested(defined, every.of(defined)) if defined else None


def _identity(entry: Entry, column: Column, part: str) -> int | None:
    """A number that is equal for models that can be resampled together; None if this one cannot be at all."""
    if name := _statistic(entry, column, part):
        items = entry.items[part]
        rows = sorted(zip(items.ids, items.targets.tolist(), strict=True))
        return hash((name, *rows)) if np.isfinite(items.predictions).all() else None
    one, values = entry.tasks[part], entry.units.get(part, {})
    whole = values and all(column.metric in found for found in values.values())
    mean = column.metric != one.main_metric or one.statistic == "mean"
    return hash(tuple(sorted(values))) if whole and mean else None


def _statistic(entry: Entry, column: Column, part: str) -> StatisticName | None:
    """What the column's metric is of the model's items; None if it is no statistic of items."""
    one = entry.tasks[part]
    return _STATISTICS.get(one.statistic) if part in entry.items and column.metric == one.main_metric else None


def _drawn(column: Column, part: str, entry: Entry) -> tuple[int, ...]:
    """Names the part's units, and seeds their draws: parts of a task whose units have the same ids, as translations
    have, are drawn together."""
    ids = entry.items[part].ids if _statistic(entry, column, part) else entry.units[part]
    name = sha256(json.dumps([column.task, *sorted(ids)]).encode()).digest()
    return tuple(np.frombuffer(name[:16], dtype=np.uint32).tolist())


def _resampled(column: Column, part: str, entries: Sequence[Entry], samples: int, seed: Sequence[int]) -> Resampled:
    rng = np.random.default_rng(seed)
    if name := _statistic(entries[0], column, part):
        tables = [_sorted(entry.items[part]) for entry in entries]
        predictions = [table.predictions for table in tables]
        return resample_items(name, predictions, tables[0].targets, samples=samples, rng=rng)
    ids = sorted(entries[0].units[part])  # the order of rows must not move an interval
    values = [[entry.units[part][unit][column.metric] for unit in ids] for entry in entries]
    return resample_means(values, samples=samples, rng=rng)


def _sorted(items: Items) -> Items:
    order = np.argsort(np.asarray(items.ids), kind="stable")
    return Items([items.ids[i] for i in order], items.predictions[order], items.targets[order])


def weights(columns: Sequence[Column], *, by_type: bool) -> Mapping[Column, float]:
    """Of each column in a mean: equal, or equal by type and then within it, as MTEB weighs them."""
    sizes = Counter(column.type for column in columns)
    return {c: 1 / (len(sizes) * sizes[c.type]) if by_type else 1 / len(columns) for c in columns}
