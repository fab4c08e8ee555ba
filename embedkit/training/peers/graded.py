"""Losses that learn from labels: target scores, relevance, or a teacher's embeddings."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from embedkit.core.spec import ModelRef
from embedkit.training.peers.base import LOSSES, Data, Named, PairwiseSimilarity, Peer

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_SCORED_PAIRS = Data("pairs", "scores")
_JUDGED_PAIRS = Data("pairs", "relevance", fewest=1)
_SCORED_LISTS = Data("tuples", "scores", fewest=1)
SiameseDistance = Annotated[
    Literal["EUCLIDEAN", "MANHATTAN", "COSINE_DISTANCE"], Named(f"{LOSSES}:SiameseDistanceMetric")
]


class CoSENTLoss(Peer):
    """Pairs of texts in the order of their scores, by cosine."""

    name: Literal["CoSENTLoss"] = "CoSENTLoss"
    learns_from: ClassVar[Data] = _SCORED_PAIRS
    scale: PositiveFloat = 20.0
    similarity_fct: PairwiseSimilarity = "pairwise_cos_sim"


class AnglELoss(Peer):
    """Pairs of texts in the order of their scores, by angle in complex space."""

    name: Literal["AnglELoss"] = "AnglELoss"
    learns_from: ClassVar[Data] = _SCORED_PAIRS
    scale: PositiveFloat = 20.0


class CosineSimilarityLoss(Peer):
    """The difference between a pair's cosine and its score."""

    name: Literal["CosineSimilarityLoss"] = "CosineSimilarityLoss"
    learns_from: ClassVar[Data] = _SCORED_PAIRS
    loss_fct: Annotated[Literal["MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss"], Named("torch.nn", make=True)] = (
        "MSELoss"
    )
    cos_score_transformation: Annotated[Literal["Identity", "Sigmoid"], Named("torch.nn", make=True)] = "Identity"


class ContrastiveLoss(Peer):
    """Distances of positives to zero, and of negatives above a margin."""

    name: Literal["ContrastiveLoss"] = "ContrastiveLoss"
    learns_from: ClassVar[Data] = _JUDGED_PAIRS
    distance_metric: SiameseDistance = "COSINE_DISTANCE"
    margin: NonNegativeFloat = 0.5
    size_average: bool = True


class OnlineContrastiveLoss(Peer):
    """ContrastiveLoss over the hardest positives and negatives of the batch."""

    name: Literal["OnlineContrastiveLoss"] = "OnlineContrastiveLoss"
    learns_from: ClassVar[Data] = _JUDGED_PAIRS
    distance_metric: SiameseDistance = "COSINE_DISTANCE"
    margin: NonNegativeFloat = 0.5


class MarginMSELoss(Peer):
    """The differences of a positive's and its negatives' scores, as a teacher gave them."""

    name: Literal["MarginMSELoss"] = "MarginMSELoss"
    learns_from: ClassVar[Data] = _SCORED_LISTS
    similarity_fct: PairwiseSimilarity = "pairwise_dot_score"


class DistillKLDivLoss(Peer):
    """The teacher's distribution over a positive and its negatives."""

    name: Literal["DistillKLDivLoss"] = "DistillKLDivLoss"
    learns_from: ClassVar[Data] = _SCORED_LISTS
    similarity_fct: PairwiseSimilarity = "pairwise_dot_score"
    temperature: PositiveFloat = 1.0
    student_temperature: PositiveFloat | None = None
    teacher_temperature: PositiveFloat | None = None


class SoftmaxLoss(Peer):
    """A classifier of pairs of texts, whose scores are whole numbers: the class of each, as in inference data."""

    name: Literal["SoftmaxLoss"] = "SoftmaxLoss"
    num_labels: Annotated[int, Field(ge=2)]
    concatenation_sent_rep: bool = True
    concatenation_sent_difference: bool = True
    concatenation_sent_multiplication: bool = False
    loss_fct: Annotated[Literal["CrossEntropyLoss", "MultiMarginLoss"], Named("torch.nn", make=True)] = (
        "CrossEntropyLoss"
    )

    @model_validator(mode="after")
    def _sees_something(self) -> Self:
        seen = ("concatenation_sent_rep", "concatenation_sent_difference", "concatenation_sent_multiplication")
        if not any(getattr(self, name) for name in seen):
            raise ValueError(f"the classifier sees nothing; one of {', '.join(seen)} must be true")
        return self

    @property
    def data(self) -> Data:
        """Pairs with classes below `num_labels`."""
        return Data("pairs", "classes", classes=self.num_labels)

    def given(self, model: "SentenceTransformer") -> dict[str, Any]:
        """The size of the embeddings."""
        return {"embedding_dimension": model.get_embedding_dimension()}


class _Distilled(Peer):
    ours: ClassVar[frozenset[str]] = frozenset({"name", "teacher"})
    teacher: ModelRef  # encodes every text once, with its own prompts
    projection_dim: PositiveInt | None = None  # the teacher's dimensions, where the model has others

    @property
    def data(self) -> Data:
        """Texts, and what the teacher makes of them."""
        return Data("tuples", "embeddings", teacher=self.teacher, dimensions=self.projection_dim)


class EmbedDistillLoss(_Distilled):
    """A teacher's embeddings of the same texts."""

    name: Literal["EmbedDistillLoss"] = "EmbedDistillLoss"
    distance_metric: Literal["mse", "l2", "cosine"] = "cosine"


class MSELoss(_Distilled):
    """A teacher's embeddings of the same texts, by mean squared error."""

    name: Literal["MSELoss"] = "MSELoss"
