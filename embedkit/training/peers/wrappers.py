"""Losses around a loss."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator
from torch import Tensor, nn

from embedkit.training.peers.base import Data, Peer, Similarity
from embedkit.training.peers.classes import (
    BatchAllTripletLoss,
    BatchHardSoftMarginTripletLoss,
    BatchHardTripletLoss,
    BatchSemiHardTripletLoss,
)
from embedkit.training.peers.graded import (
    AnglELoss,
    ContrastiveLoss,
    CoSENTLoss,
    CosineSimilarityLoss,
    DistillKLDivLoss,
    EmbedDistillLoss,
    MarginMSELoss,
    MSELoss,
    OnlineContrastiveLoss,
    SoftmaxLoss,
)
from embedkit.training.peers.ranking import (
    CachedGISTEmbedLoss,
    CachedMultipleNegativesRankingLoss,
    GISTEmbedLoss,
    MegaBatchMarginLoss,
    MultipleNegativesRankingLoss,
    TripletLoss,
)

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from embedkit.training.peers.base import OpenModel

OfEmbeddings = (  # those with a `compute_loss_from_embeddings` of embeddings and labels
    AnglELoss
    | ContrastiveLoss
    | CoSENTLoss
    | CosineSimilarityLoss
    | DistillKLDivLoss
    | MarginMSELoss
    | MultipleNegativesRankingLoss
    | OnlineContrastiveLoss
    | TripletLoss
)


class _Wrapper(Peer):
    loss: Peer

    @property
    def data(self) -> Data:
        """What the inner loss learns from."""
        return self.loss.data

    @property
    def caches(self) -> bool:
        """As the inner loss."""
        return self.loss.caches


class GlobalOrthogonalRegularizationLoss(_Wrapper):
    """Spread texts over the sphere, beside another loss: alone it would bring nothing together."""

    name: Literal["GlobalOrthogonalRegularizationLoss"] = "GlobalOrthogonalRegularizationLoss"
    ours: ClassVar[frozenset[str]] = frozenset({"name", "loss"})
    loss: Annotated[OfEmbeddings, Field(discriminator="name")]
    similarity_fct: Similarity = "cos_sim"
    mean_weight: NonNegativeFloat | None = 1.0
    second_moment_weight: NonNegativeFloat | None = 1.0
    aggregation: Literal["mean", "sum"] = "mean"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.mean_weight and not self.second_moment_weight:
            raise ValueError("mean_weight or second_moment_weight must be above 0")
        return self

    def build(self, model: "SentenceTransformer", open_model: "OpenModel") -> nn.Module:
        """The sum of both losses, of one forward pass."""
        return _Sum(model, [self.loss.build(model, open_model), super().build(model, open_model)])


class _Sum(nn.Module):
    """Several losses of the same embeddings, as sentence-transformers' documentation combines them."""

    def __init__(self, model: nn.Module, losses: Sequence[nn.Module]) -> None:
        super().__init__()
        self.model = model
        self.losses = nn.ModuleList(losses)

    def forward(self, columns: Sequence[dict[str, Any]], labels: Tensor | None) -> Tensor:
        """The sum; a loss may give several terms by name."""
        embeddings = [self.model(column)["sentence_embedding"] for column in columns]
        return self.compute_loss_from_embeddings(embeddings, labels)

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor | None) -> Tensor:
        """As `forward`."""
        losses: Iterable[Any] = self.losses
        found = [loss.compute_loss_from_embeddings(embeddings, labels) for loss in losses]
        terms = [term for value in found for term in (value.values() if isinstance(value, dict) else [value])]
        total: Tensor = sum(terms[1:], terms[0])
        return total


Inner = (
    OfEmbeddings
    | BatchAllTripletLoss
    | BatchHardSoftMarginTripletLoss
    | BatchHardTripletLoss
    | BatchSemiHardTripletLoss
    | CachedGISTEmbedLoss
    | CachedMultipleNegativesRankingLoss
    | EmbedDistillLoss
    | GISTEmbedLoss
    | GlobalOrthogonalRegularizationLoss
    | MegaBatchMarginLoss
    | MSELoss
    | SoftmaxLoss
)


class _Wide(_Wrapper):
    loss: Annotated[Inner, Field(discriminator="name")]


class _Layers(_Wide):
    n_layers_per_step: Annotated[int, Field(ge=-1)] = 1
    last_layer_weight: NonNegativeFloat = 1.0
    prior_layers_weight: NonNegativeFloat = 1.0
    kl_div_weight: NonNegativeFloat = 1.0
    kl_temperature: NonNegativeFloat = 0.3
    layer_weighting: Literal["uniform", "log", "linear"] = "uniform"

    @model_validator(mode="after")
    def _no_cache(self) -> Self:
        if self.caches:
            raise ValueError(
                f"loss {self.loss.name} embeds again in the backward pass, when layers cannot be told apart"
            )
        return self


class _Dims(_Wide):
    matryoshka_dims: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    matryoshka_weights: tuple[NonNegativeFloat, ...] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.matryoshka_weights is not None and len(self.matryoshka_weights) != len(self.matryoshka_dims):
            raise ValueError("matryoshka_weights must be as many as matryoshka_dims")
        if isinstance(self.loss, EmbedDistillLoss | MSELoss) and self.loss.projection_dim is not None:
            raise ValueError(f"loss {self.loss.name} projects the whole embedding; leave out projection_dim")
        return self


class MatryoshkaLoss(_Dims):
    """A loss of the first dimensions of the embeddings too."""

    name: Literal["MatryoshkaLoss"] = "MatryoshkaLoss"
    n_dims_per_step: Annotated[int, Field(ge=-1)] = -1


class AdaptiveLayerLoss(_Layers):
    """A loss of the earlier layers of the model too."""

    name: Literal["AdaptiveLayerLoss"] = "AdaptiveLayerLoss"


class Matryoshka2dLoss(_Dims, _Layers):
    """A loss of the first dimensions and of the earlier layers."""

    name: Literal["Matryoshka2dLoss"] = "Matryoshka2dLoss"
    n_dims_per_step: Annotated[int, Field(ge=-1)] = 1
