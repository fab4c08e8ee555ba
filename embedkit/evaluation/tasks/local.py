"""Retrieval on a dataset of the recipe."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from embedkit.core.dataset import open_dataset
from embedkit.core.errors import DataError
from embedkit.core.spec import DatasetRef
from embedkit.core.stage import Artifact
from embedkit.evaluation.tasks.base import AbsTask, Task


class LocalTask(Task):
    """The judged queries of one split of a dataset of the recipe, searched in its whole corpus."""

    kind: Literal["local"] = "local"
    data: DatasetRef
    split: Literal["train", "dev", "test"] = "test"

    def open(self, inputs: Mapping[str, Artifact], work: Path) -> AbsTask:
        """mteb's retrieval task; its revision is the dataset's key."""
        from embedkit.evaluation.harness import DatasetTask

        artifact = inputs[self.data]
        dataset = open_dataset(artifact.path, work)
        if not dataset.qrels.get(self.split):
            known = sorted(dataset.qrels)
            raise DataError(f"{self.data}: has no {self.split!r} queries to evaluate on; it has {known}")
        return DatasetTask(dataset, self.split, artifact.key)
