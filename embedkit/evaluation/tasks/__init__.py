"""What models can be evaluated on. To add a kind: write its file, then add it to `AnyTask`."""

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from embedkit.evaluation.tasks.base import Role, Task
from embedkit.evaluation.tasks.classification import ClassificationTask
from embedkit.evaluation.tasks.clustering import ClusteringTask
from embedkit.evaluation.tasks.local import LocalTask
from embedkit.evaluation.tasks.official import MtebTask
from embedkit.evaluation.tasks.pair_classification import PairClassificationTask
from embedkit.evaluation.tasks.reranking import RerankingTask
from embedkit.evaluation.tasks.sts import StsTask


def _kind(value: Any) -> Any:
    """A task that does not say its kind is a local one."""
    return value.get("kind", "local") if isinstance(value, dict) else getattr(value, "kind", None)


AnyTask = Annotated[
    Annotated[LocalTask, Tag("local")]
    | Annotated[MtebTask, Tag("mteb")]
    | Annotated[StsTask, Tag("sts")]
    | Annotated[ClassificationTask, Tag("classification")]
    | Annotated[ClusteringTask, Tag("clustering")]
    | Annotated[PairClassificationTask, Tag("pair_classification")]
    | Annotated[RerankingTask, Tag("reranking")],
    Discriminator(_kind),
]

__all__ = [
    "AnyTask",
    "ClassificationTask",
    "ClusteringTask",
    "LocalTask",
    "MtebTask",
    "PairClassificationTask",
    "RerankingTask",
    "Role",
    "StsTask",
    "Task",
]
