"""Scores without the queries, or items, that training has seen."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedkit.core.errors import DataError, did_you_mean
from embedkit.core.scores import Items, read_items, read_per_query, read_scores
from embedkit.measures.statistics import STATISTICS, value


@dataclass(frozen=True)
class Rescored:
    """A model's means on a task, over all queries and over those that training has not seen."""

    model: str  # key
    task: str
    queries: int  # all
    left: int  # not seen
    all: Mapping[str, float]  # metric -> mean
    unseen: Mapping[str, float | None]  # None: no query is left


def rescore(scores: Path, touched: Mapping[str, Collection[str]]) -> list[Rescored]:
    """Every model on every task of `touched`, task -> ids of the queries to leave out, from a folder of scores.

    The means of a contaminated task are too high by what training remembers of these queries; the means of the others
    are of another, smaller test, so compare models on them and not with published figures. Raises `DataError` if the
    scores have no such task query by query.
    """
    values, items = read_per_query(scores), read_items(scores)
    tasks = list(dict.fromkeys(task for _, task in (*values, *items)))
    for task in touched:
        if task not in tasks:
            hint = did_you_mean(task, tasks)
            raise DataError(f"{scores}: has no scores query by query of {task!r}; it has {tasks}{hint}")
    found = []
    for model in read_scores(scores):
        for task in (task for task in touched if task in model.tasks):
            seen, about = set(touched[task]), model.tasks[task]
            if (model.key, task) in items and about.statistic in STATISTICS:
                found.append(
                    _of_items(model.key, task, items[model.key, task], seen, about.main_metric, about.statistic)
                )
            elif (model.key, task) in values:
                found.append(_rescored(model.key, task, values[model.key, task], seen))
    return found


def _of_items(model: str, task: str, items: Items, seen: set[str], metric: str, name: str) -> Rescored:
    """Of a task whose score is a statistic of all items together."""
    left = np.array([id_ not in seen for id_ in items.ids], dtype=np.bool_)

    def score(kept: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float | None:
        found = value(name, items.predictions[kept], items.targets[kept]) if kept.any() else math.nan  # type: ignore[arg-type]
        return None if math.isnan(found) else found

    whole = score(np.ones_like(left))
    everything = {} if whole is None else {metric: whole}
    return Rescored(model, task, len(left), int(left.sum()), everything, {metric: score(left)})


def _rescored(model: str, task: str, queries: Mapping[str, Mapping[str, float]], seen: set[str]) -> Rescored:
    unseen = {query: values for query, values in queries.items() if query not in seen}
    metrics = list(dict.fromkeys(metric for values in queries.values() for metric in values))
    means = {metric: _mean(queries, metric) for metric in metrics}
    return Rescored(
        model,
        task,
        len(queries),
        len(unseen),
        {metric: mean for metric, mean in means.items() if mean is not None},
        {metric: _mean(unseen, metric) for metric in metrics},
    )


def _mean(queries: Mapping[str, Mapping[str, float]], metric: str) -> float | None:
    values = [found[metric] for found in queries.values() if metric in found]
    return sum(values) / len(values) if values else None
