"""Pair classification on a table of one's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from embedkit.core.errors import DataError
from embedkit.core.spec import LocalPath
from embedkit.core.stage import Artifact
from embedkit.evaluation.tables import binary, read_columns, text
from embedkit.evaluation.tasks.base import AbsTask, Task


class PairClassificationTask(Task):
    """Pairs of sentences that mean the same (1) or do not (0), told apart by the model's similarity."""

    kind: Literal["pair_classification"] = "pair_classification"
    path: LocalPath
    sentence1: str = "sentence1"  # names of columns
    sentence2: str = "sentence2"
    label: str = "label"

    def open(self, inputs: Mapping[str, Artifact], work: Path) -> AbsTask:
        """mteb's pair classification task on the table's rows."""
        columns = read_columns(self.path, {self.sentence1: text, self.sentence2: text, self.label: binary})
        labels = columns[self.label]
        if len(set(labels)) == 1:
            raise DataError(f"{self.path}: every {self.label} is {labels[0]}; there must be pairs with 0 and with 1")
        from embedkit.evaluation.local import pair_classification_task

        return pair_classification_task(columns[self.sentence1], columns[self.sentence2], labels)
