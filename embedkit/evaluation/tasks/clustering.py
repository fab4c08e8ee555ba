"""Clustering on a table of one's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import PositiveInt

from embedkit.core.errors import DataError
from embedkit.core.spec import LocalPath
from embedkit.core.stage import Artifact
from embedkit.evaluation.tables import label, read_columns, text
from embedkit.evaluation.tasks.base import AbsTask, Task


class ClusteringTask(Task):
    """Texts and their classes: k-means of bootstrapped samples of the embedded texts against the classes, V-measure."""

    kind: Literal["clustering"] = "clustering"
    path: LocalPath
    text: str = "text"  # names of columns
    label: str = "label"
    documents: PositiveInt | None = None  # embed this many, drawn at random; None: all
    samples: PositiveInt = 2048  # texts of one clustering, drawn with replacement
    experiments: PositiveInt = 10

    def open(self, inputs: Mapping[str, Artifact], work: Path) -> AbsTask:
        """mteb's fast clustering task on the table's rows."""
        columns = read_columns(self.path, {self.text: text, self.label: label})
        labels = columns[self.label]
        if len(set(labels)) < 2:
            raise DataError(f"{self.path}: every {self.label} is {labels[0]!r}; there must be two at least")
        from embedkit.evaluation.local import clustering_task

        return clustering_task(
            columns[self.text],
            labels,
            documents=self.documents,
            samples=self.samples,
            experiments=self.experiments,
        )
