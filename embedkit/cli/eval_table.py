"""The table that `eval` prints: tasks by models, and the mean over tasks."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from embedkit.core.scores import ModelScores, TaskScores, read_scores
from embedkit.core.stage import Artifact
from embedkit.evaluation.gathering import Gathered
from embedkit.evaluation.results import read_result
from embedkit.evaluation.stage import Evaluate
from embedkit.recipe import Recipe


@dataclass(frozen=True)
class Scoreboard:
    """What every model reached on every task; a task that failed for a model is not among its tasks."""

    models: Mapping[str, Mapping[str, TaskScores]]  # model -> task -> scores

    @property
    def tasks(self) -> dict[str, TaskScores]:
        """Every task that some model has, and what is told of it."""
        return {task: scores for found in self.models.values() for task, scores in found.items()}

    @property
    def common(self) -> list[str]:
        """Tasks, and groups of tasks, of which all models have a score."""
        return list(dict.fromkeys(self.tasks[task].group or task for task in self._shared))

    @property
    def _shared(self) -> list[str]:
        return [
            task for task in self.tasks if all(_main(found.get(task)) is not None for found in self.models.values())
        ]

    def mean(self, model: str) -> float | None:
        """The model's mean over the tasks in common, of each its main metric; those of a group count as one."""
        groups: dict[str, list[float]] = {}
        for task in self._shared:
            scores = self.models[model][task]
            groups.setdefault(scores.group or task, []).append(scores.metrics[scores.main_metric])
        means = [sum(values) / len(values) for values in groups.values()]
        return sum(means) / len(means) if means else None

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "tasks": {
                task: {"main": one.main_metric, "type": one.type, "revision": one.revision, "queries": one.queries}
                for task, one in self.tasks.items()
            },
            "models": {
                model: {"tasks": {task: dict(one.metrics) for task, one in found.items()}, "mean": self.mean(model)}
                for model, found in self.models.items()
            },
            "mean_over": self.common,
        }


def scoreboard(
    recipe: Recipe,
    made: Mapping[tuple[str, str], Artifact],
    models: Mapping[str, Artifact],
    scores: Artifact | None,
) -> Scoreboard:
    """From the scores artifact, and from results of (model, task) that are not in it because of others that failed."""
    stage = recipe.stages["scores"]
    assert isinstance(stage, Evaluate)
    gathered = {model.key: model for model in read_scores(scores.path)} if scores is not None else {}
    board: dict[str, dict[str, TaskScores]] = {}
    for model in (name for name in stage.models if name in models):
        there = gathered.get(models[model].key, ModelScores(models[model].key, {})).tasks
        board[model] = {}
        for task, about in stage.tasks.items():
            found: Mapping[str, TaskScores] = {name: one for name, one in there.items() if task in (name, one.group)}
            if not found and (model, task) in made:
                group = stage.groups.get(task, "")
                found = _single(
                    made[model, task].path, task, stage.metrics, official=about.kind != "local", group=group
                )
            board[model] |= found
    return Scoreboard(board)


def _single(
    folder: Path, task: str, metrics: tuple[str, ...], *, official: bool, group: str
) -> Mapping[str, TaskScores]:
    """Scores of one result alone."""
    one = Gathered()
    one.add("", task, read_result(folder), metrics, official=official, group=group)
    with tempfile.TemporaryDirectory() as out:
        one.write(Path(out))
        return read_scores(Path(out))[0].tasks


def print_scores(board: Scoreboard) -> None:
    """The table, if there is anything in it."""
    if not board.tasks:
        return
    right = [Column(model, justify="right") for model in board.models]
    table = Table("task", "metric", *right, box=None, pad_edge=False)
    for task, about in board.tasks.items():
        rows = [found.get(task) for found in board.models.values()]
        table.add_row(task, _shown(about.main_metric), *(_value(_main(row)) for row in rows))
    if len(board.tasks) > 1:
        means = [_value(board.mean(model)) for model in board.models]
        table.add_row(f"mean of {len(board.common)} tasks", "", *means, style="bold")
    Console(highlight=False, width=None if Console().is_terminal else 200).print(table)


def _main(scores: TaskScores | None) -> float | None:
    """The score that models are compared by; None where there is none, or it is undefined."""
    return None if scores is None or not scores.metrics else scores.metrics.get(scores.main_metric)


def _value(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _shown(metric: str) -> str:
    """nDCG@10 for ndcg@10, as people write it."""
    family, at, cutoff = metric.partition("@")
    known = {"ndcg": "nDCG", "mrr": "MRR", "map": "MAP"}
    return f"{known.get(family, family)}{at}{cutoff}"
