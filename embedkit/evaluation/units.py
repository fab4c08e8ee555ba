"""What a score that is not of a ranking is made of, one by one: so that differences between models can be tested.

Imports mteb; import it, and call it, within `contained`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import datasets
import numpy as np
from mteb.abstasks import (
    AbsTask,
    AbsTaskClassification,
    AbsTaskMultilabelClassification,
    AbsTaskPairClassification,
    AbsTaskSTS,
)
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

Doubles = NDArray[np.float64]
_STS: Final = {"cosine": "cosine_scores", "manhattan": "manhattan_distances", "euclidean": "euclidean_distances"}
_PAIRS: Final = {  # what mteb calls a function of two vectors -> its predictions, and their sign
    "similarity": ("similarity_scores", 1.0),
    "cosine": ("cosine_scores", 1.0),
    "dot": ("dot_scores", 1.0),
    "manhattan": ("manhattan_distances", -1.0),
    "euclidean": ("euclidean_distances", -1.0),
}
_EXACT: Final = 1e-6  # how near the units' mean must be to mteb's score to be what it is made of


def items_of(task: AbsTask, metric: str, data: Any, said: Any) -> tuple[list[str], Doubles, Doubles] | None:
    """Ids, predictions (n,) and targets (n,) of a task whose score is a statistic of all pairs; None if it is none.

    `metric` is mteb's name of the score, `data` the part's rows, `said` what the task predicted of them.
    """
    if not isinstance(said, Mapping):
        return None
    if isinstance(task, AbsTaskSTS):
        function = metric.rpartition("_")[0]
        predicted, targets = said[_STS.get(function, "similarity_scores")], data["score"]
    elif isinstance(task, AbsTaskPairClassification):
        rows = datasets.Dataset.from_dict(data[0]) if len(data) == 1 else data  # how older sets are stored
        targets = rows[task.label_column_name]
        predicted = _pair_predictions(metric, said, np.asarray(targets))
    else:
        return None
    found = np.asarray(predicted, dtype=np.float64)
    return [str(row) for row in range(len(found))], found, np.asarray(targets, dtype=np.float64)


def _pair_predictions(metric: str, said: Mapping[str, Sequence[float]], labels: NDArray[Any]) -> Doubles:
    function, _, _ = metric.rpartition("_")
    if function in _PAIRS:
        name, sign = _PAIRS[function]
        return sign * np.asarray(said[name])
    every = [sign * np.asarray(said[name]) for name, sign in _PAIRS.values()]  # max_ap: of the function that does best
    return max(every, key=lambda predicted: float(average_precision_score(labels, predicted)))


def units_of(task: AbsTask, scores: Mapping[str, Any], data: Any, said: Any) -> dict[str, dict[str, float]]:
    """unit_id -> metric -> value, of tasks whose score is a mean: over the texts of a classification (the share of
    experiments that were right), or over the experiments of a clustering. Empty for other tasks."""
    if isinstance(task, AbsTaskMultilabelClassification):
        return {}  # several labels a text, of which its scores are no means
    if isinstance(task, AbsTaskClassification) and not task.is_cross_validation and isinstance(said, list):
        labels = np.asarray(data[task.label_column_name])
        guesses = [np.asarray(one) for one in said]
        if all(len(one) == len(labels) for one in guesses):
            right = np.mean([one == labels for one in guesses], axis=0)
            units = {str(row): {"accuracy": float(value)} for row, value in enumerate(right)}
            return units if abs(float(right.mean()) - scores.get("accuracy", np.inf)) < _EXACT else {}
    levels = scores.get("v_measures")
    if isinstance(levels, Mapping):
        return {
            f"{level}/{row}": {"v_measure": float(value)}
            for level, values in levels.items()
            for row, value in enumerate(values)
        }
    return {}
