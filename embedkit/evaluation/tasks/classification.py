"""Classification on tables of one's own."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import PositiveInt

from embedkit.core.errors import DataError
from embedkit.core.spec import LocalPath
from embedkit.core.stage import Artifact
from embedkit.evaluation.tables import Columns, label, read_columns, text
from embedkit.evaluation.tasks.base import AbsTask, Task


class ClassificationTask(Task):
    """Texts and their classes: a logistic regression on a few embedded training texts a class, several times over."""

    kind: Literal["classification"] = "classification"
    train: LocalPath
    test: LocalPath
    text: str = "text"  # names of columns
    label: str = "label"
    samples_per_label: PositiveInt = 8
    experiments: PositiveInt = 10

    def open(self, inputs: Mapping[str, Artifact], work: Path) -> AbsTask:
        """mteb's classification task on the rows of both tables."""
        train, test = self._read(self.train), self._read(self.test)
        classes = Counter(train[self.label])
        if len(classes) < 2:
            raise DataError(f"{self.train}: every {self.label} is {next(iter(classes))!r}; there must be two at least")
        if unknown := sorted(set(test[self.label]) - set(classes)):
            raise DataError(f"{self.test}: {self.label} {unknown[0]!r} is not among the labels of {self.train}")
        from embedkit.evaluation.local import classification_task

        return classification_task(
            (train[self.text], train[self.label]),
            (test[self.text], test[self.label]),
            samples_per_label=self.samples_per_label,
            experiments=self.experiments,
        )

    def _read(self, path: Path) -> Columns:
        return read_columns(path, {self.text: text, self.label: label})
