"""What models are evaluated on."""

from typing import Literal

from embedkit.core.spec import DatasetRef, Spec


class LocalTask(Spec):
    """The judged queries of one split of a dataset of the recipe, searched in its whole corpus."""

    kind: Literal["local"] = "local"
    data: DatasetRef
    split: Literal["train", "dev", "test"] = "test"


AnyTask = LocalTask  # a union by `kind` as soon as there is a second one
