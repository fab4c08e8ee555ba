"""From results on tasks to scores: metrics of every query, their means, and what is not a mean of anything."""

from collections.abc import Sequence
from pathlib import Path

from embedkit.core.scores import (
    Items,
    ModelScores,
    PerQuery,
    Statistic,
    TaskScores,
    write_items,
    write_per_query,
    write_scores,
    write_texts,
)
from embedkit.evaluation.results import Part, TaskResult
from embedkit.measures.ranking import FAMILIES, mean_scores, per_query


class Gathered:
    """The scores of models on tasks, in the order in which they are added."""

    def __init__(self) -> None:
        self._models: dict[str, dict[str, TaskScores]] = {}
        self._values: dict[tuple[str, str], PerQuery] = {}
        self._items: dict[tuple[str, str], Items] = {}
        self._texts: dict[str, dict[str, str]] = {}

    @property
    def tasks(self) -> list[str]:
        """The tasks, a task of several subsets or splits as several."""
        return list(dict.fromkeys(task for scores in self._models.values() for task in scores))

    def add(
        self, model: str, task: str, result: TaskResult, metrics: Sequence[str], *, official: bool, group: str = ""
    ) -> None:
        """A model's result on a task. Of tasks that rank, these metrics are computed, and the official one, which
        comes first if `official`; by the first one models are compared. `group`: what the task itself is a part of; a
        task of several subsets or splits is a group of its own."""
        for part in result.parts:
            name = f"{task}:{part.name}" if part.name else task
            within = task if part.name else group
            self._models.setdefault(model, {})[name] = self._scores(
                model, name, within, result, part, metrics, official
            )
            if part.texts:
                self._texts[name] = dict(part.texts)

    def _scores(
        self,
        model: str,
        name: str,
        group: str,
        result: TaskResult,
        part: Part,
        metrics: Sequence[str],
        official: bool,
    ) -> TaskScores:
        about = {"group": group, "type": result.type, "revision": result.revision}
        value = part.mteb.get("main_score")
        own = {} if value is None else {result.main: value}
        if part.run:
            ranking = result.main if result.main.partition("@")[0] in FAMILIES else ""
            wanted = list(dict.fromkeys([ranking, *metrics] if official and ranking else metrics))
            together = {query: part.qrels[query] for query in part.run if query in part.qrels}  # as they lie on disk
            found = per_query(part.run, together | part.qrels, wanted)
            values: PerQuery = {query: found[query] for query in part.qrels}
            means = mean_scores(found)
            self._values[model, name] = values
            means = {metric: means[metric] for metric in wanted}
            other = own if official and not ranking else {}  # a task that ranks, with a score of its own
            statistic: Statistic = "other" if other else "mean"
            main = result.main if other else wanted[0]
            return TaskScores({**other, **means}, len(values), main, statistic=statistic, **about)
        if part.items is not None:
            self._items[model, name] = part.items
            return TaskScores(own, len(part.items.ids), result.main, statistic=result.statistic, **about)
        if part.units:
            self._values[model, name] = part.units
        return TaskScores(own, len(part.units), result.main, statistic=result.statistic, **about)

    def line(self, task: str) -> str:
        """What models reached on a task, in a line."""
        scores = [found[task] for found in self._models.values() if task in found]
        metric = scores[0].main_metric
        values = [one.metrics[metric] for one in scores if metric in one.metrics]  # of the others it is undefined
        counted = scores[0].queries
        span = f"{min(values):.4f} to {max(values):.4f}, {len(values)} models" if values else "is undefined"
        return f"{task}: {metric} {span}" + (f", {counted} {_counted(scores[0])}" if counted else "")

    def write(self, folder: Path) -> None:
        """Write a scores artifact."""
        write_scores(folder, [ModelScores(key, tasks) for key, tasks in self._models.items()])
        write_per_query(folder, self._values)
        write_items(folder, self._items)
        write_texts(folder, self._texts)


def _counted(scores: TaskScores) -> str:
    """What a score is made of."""
    names = {"Classification": "texts", "Clustering": "experiments"}
    return names.get(scores.type, "queries" if scores.statistic in ("mean", "other") else "pairs")
