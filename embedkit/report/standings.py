"""Models x tasks: scores, means over the tasks that all models have, intervals, and ranks that say no more than the
scores do."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from embedkit.core.entry import Entry
from embedkit.core.errors import RecipeError, did_you_mean
from embedkit.measures.standings import Resampled, average, p_values, ranks, samples_for
from embedkit.report.columns import Column, Tested, columns, tested, weights
from embedkit.report.comparison import Bootstrap

_MOST: Final = 100_000  # samples
_SHORT: Final = 8  # characters of a revision


@dataclass(frozen=True)
class Score:
    """A score and, where files hold what it takes, its interval."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Cell:
    """A model's score in a column. `top`: no other model there is told to be better."""

    score: Score
    top: bool


@dataclass(frozen=True)
class Difference:
    """A mean over tasks less the baseline's."""

    value: float
    low: float
    high: float
    p: float  # Holm-corrected for all pairs of models


@dataclass(frozen=True)
class Line:
    """One model."""

    entry: Entry
    label: str
    cells: Sequence[Cell | None]
    by_task: Score | None  # means over the common columns
    by_type: Score | None
    rank: int | None  # None: its files hold no values to compare by
    better: Sequence[str]  # labels of the models that are told to be better
    against_baseline: Difference | None


@dataclass(frozen=True)
class Standings:
    """A leaderboard."""

    columns: Sequence[Column]
    units: Sequence[int]  # of each column
    common: frozenset[Column]  # columns that every model has
    lines: Sequence[Line]  # best mean first, then those without one
    how: Bootstrap
    pairs: int  # that were tested
    baseline: str | None  # label


def standings(
    entries: Sequence[Entry], *, metric: str | None = None, baseline: str | None = None, how: Bootstrap | None = None
) -> Standings:
    """Who stands where. `baseline` is a model's name or label.

    Raises `RecipeError` if no task has the metric, no model has the name, or there are no scores at all.
    """
    how = how or Bootstrap()
    count = sum(bool(entry.units or entry.items) for entry in entries)
    how = replace(how, samples=min(_MOST, max(how.samples, samples_for(count, how.confidence))))
    labels, shown = _labels(entries), columns(entries, metric)
    if not shown:
        raise RecipeError("leaderboard: there are no scores in these folders")
    if metric is not None and all(column.metric != metric for column in shown):
        known = sorted({m for e in entries for one in e.tasks.values() for m in one.metrics})
        raise RecipeError(f"--metric {metric}: no task has it{did_you_mean(metric, known)}; there are {known}")
    base = _find(baseline, entries, labels)
    values = {c: [c.value(entry) for entry in entries] for c in shown}
    common = [c for c in shown if None not in values[c]]
    found = {c: tested(c, entries, samples=how.samples, seed=how.seed) for c in shown}
    tops = {c: _top(one, how) if one else set[int]() for c, one in found.items()}
    overall = _Overall(values, common, found, how)
    lines = []
    for row, entry in enumerate(entries):
        cells = [_cell(values[c], row, found[c], tops[c], how) for c in shown]
        against = None if base is None or base == row else overall.difference(row, base)
        means = overall.mean(row, by_type=False), overall.mean(row, by_type=True)
        better = [labels[other] for other in overall.better(row)]
        lines.append(Line(entry, labels[row], cells, *means, overall.rank(row), better, against))
    lines.sort(key=lambda line: (-(line.by_task.value) if line.by_task else float("inf"), line.label))
    units = [c.units(entries) for c in shown]
    label = None if base is None else labels[base]
    return Standings(shown, units, frozenset(common), lines, how, len(overall.p), label)


class _Overall:
    """Means over the common columns, and what can be told of their differences."""

    def __init__(
        self,
        values: Mapping[Column, Sequence[float | None]],
        common: Sequence[Column],
        found: Mapping[Column, Tested | None],
        how: Bootstrap,
    ) -> None:
        self.values, self.common, self.how = values, common, how
        known = [set(one.rows) if (one := found[c]) else set[int]() for c in common]
        self.rows = sorted(set.intersection(*known)) if known else []
        self.means: dict[bool, Resampled] = {}
        if self.rows:
            parts = [one.of(self.rows) for c in common if (one := found[c])]
            for by_type in (False, True):
                weighed = weights(common, by_type=by_type)
                self.means[by_type] = average(parts, [weighed[c] for c in common])
        self.p = p_values(self.means[False]) if self.rows else {}
        self.ranks = ranks(len(self.rows), self.p, how.confidence)

    def mean(self, row: int, *, by_type: bool) -> Score | None:
        """A model's mean; None if no column is common."""
        if not self.common:
            return None
        weighed = weights(self.common, by_type=by_type)
        value = sum(w * (self.values[c][row] or 0.0) for c, w in weighed.items())
        if row not in self.rows:
            return Score(value)
        return Score(value, *self.means[by_type].one(self.rows.index(row)).interval(self.how.confidence))

    def rank(self, row: int) -> int | None:
        """1 + how many models are told to be better."""
        return self.ranks[self.rows.index(row)] if row in self.rows and len(self.rows) > 1 else None

    def better(self, row: int) -> list[int]:
        """The models that are told to be better."""
        told = (pair for pair, p in self.p.items() if p < 1 - self.how.confidence)
        return [self.rows[a] for a, b in told if self.rows[b] == row]

    def difference(self, row: int, base: int) -> Difference | None:
        """A model less the baseline."""
        if row not in self.rows or base not in self.rows:
            return None
        a, b = self.rows.index(row), self.rows.index(base)
        span = self.means[False].difference(a, b)
        p = self.p[(a, b) if (a, b) in self.p else (b, a)]
        return Difference(span.difference, *span.interval(self.how.confidence), p)


def _top(known: Tested, how: Bootstrap) -> set[int]:
    """The models of a column that none is told to be better than."""
    places = ranks(len(known.rows), p_values(known.found), how.confidence)
    return {row for row, rank in zip(known.rows, places, strict=True) if rank == 1}


def _cell(values: Sequence[float | None], row: int, known: Tested | None, top: set[int], how: Bootstrap) -> Cell | None:
    value = values[row]
    if value is None:
        return None
    if known is None:
        return Cell(Score(value), top=value == max(other for other in values if other is not None))
    if row not in known.rows:
        return Cell(Score(value), top=False)
    return Cell(Score(value, *known.found.one(known.rows.index(row)).interval(how.confidence)), top=row in top)


def _labels(entries: Sequence[Entry]) -> list[str]:
    """Names, with as much of the revision as tells equal names apart."""
    names = Counter(entry.name for entry in entries)
    short = Counter((entry.name, entry.revision[:_SHORT]) for entry in entries)
    labels = []
    for one in entries:
        shown = one.revision[: _SHORT if short[one.name, one.revision[:_SHORT]] == 1 else None]
        labels.append(f"{one.name}@{shown}" if names[one.name] > 1 else one.name)
    return labels


def _find(name: str | None, entries: Sequence[Entry], labels: Sequence[str]) -> int | None:
    if name is None:
        return None
    places = [row for row, entry in enumerate(entries) if name in (labels[row], entry.name)]
    if len(places) != 1:
        what = "is the name of several models" if places else "there is no such model"
        raise RecipeError(f"--baseline {name}: {what}{did_you_mean(name, labels)}; there are {list(labels)}")
    return places[0]


def facts(found: Standings) -> dict[str, Any]:
    """The leaderboard for machines."""
    return {
        "confidence": found.how.confidence,
        "samples": found.how.samples,
        "seed": found.how.seed,
        "pairs_tested": found.pairs,
        "baseline": found.baseline,
        "tasks": [
            {
                **{"task": c.task, "metric": c.metric, "type": c.type, "revision": c.revision, "parts": len(c.parts)},
                **{"units": units, "in_means": c in found.common},
            }
            for c, units in zip(found.columns, found.units, strict=True)
        ],
        "models": [_line_facts(line) for line in found.lines],
    }


def _line_facts(line: Line) -> dict[str, Any]:
    difference = line.against_baseline
    return {
        "name": line.entry.name,
        "label": line.label,
        "revision": line.entry.revision,
        "rank": line.rank,
        "told_better": list(line.better),
        "mean_by_task": line.by_task and vars(line.by_task),
        "mean_by_type": line.by_type and vars(line.by_type),
        "against_baseline": None if difference is None else vars(difference),
        **{key: getattr(line.entry.facts, key) for key in ("parameters", "dimensions", "max_tokens")},
        "scores": [None if cell is None else {**vars(cell.score), "top": cell.top} for cell in line.cells],
    }
