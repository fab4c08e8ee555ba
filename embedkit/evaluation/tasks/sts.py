"""Semantic textual similarity on a table of one's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from embedkit.core.spec import LocalPath
from embedkit.core.stage import Artifact
from embedkit.evaluation.tables import between, read_columns, text
from embedkit.evaluation.tasks.base import AbsTask, Task


class StsTask(Task):
    """Pairs of sentences and how alike people found them; scored by Spearman's correlation with the model's cosine."""

    kind: Literal["sts"] = "sts"
    path: LocalPath
    sentence1: str = "sentence1"  # names of columns
    sentence2: str = "sentence2"
    score: str = "score"
    min_score: float = 0
    max_score: float = 5

    @model_validator(mode="after")
    def _range(self) -> "StsTask":
        if self.min_score >= self.max_score:
            raise ValueError(f"min_score {self.min_score:g} is not below max_score {self.max_score:g}")
        return self

    def open(self, inputs: Mapping[str, Artifact], work: Path) -> AbsTask:
        """mteb's STS task on the table's rows."""
        cells = {self.sentence1: text, self.sentence2: text, self.score: between(self.min_score, self.max_score)}
        columns = read_columns(self.path, cells)
        from embedkit.evaluation.local import sts_task

        return sts_task(
            columns[self.sentence1],
            columns[self.sentence2],
            columns[self.score],
            min_score=self.min_score,
            max_score=self.max_score,
        )
