"""Losses of sentence-transformers that a recipe can name, with the arguments they take.

Only those that learn from (query, positive) text columns and are not deprecated are here. Names and defaults of their
arguments are those of sentence-transformers; a test compares them with its signatures.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from embedkit.core.spec import Execution, Spec

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn

Direction = Literal["query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc"]
HardnessMode = Literal["in_batch_negatives", "hard_negatives", "all_negatives"]


class MultipleNegativesRanking(Spec):
    """In-batch InfoNCE."""

    name: Literal["MultipleNegativesRankingLoss"] = "MultipleNegativesRankingLoss"
    scale: PositiveFloat = 20.0
    directions: tuple[Direction, ...] = ("query_to_doc",)
    partition_mode: Literal["joint", "per_direction"] = "joint"
    hardness_mode: HardnessMode | None = None
    hardness_strength: NonNegativeFloat = 0.0


class CachedMultipleNegativesRanking(Spec):
    """In-batch InfoNCE with gradient caching."""

    name: Literal["CachedMultipleNegativesRankingLoss"] = "CachedMultipleNegativesRankingLoss"
    scale: PositiveFloat = 20.0
    mini_batch_size: Annotated[PositiveInt, Execution()] = 32
    directions: tuple[Direction, ...] = ("query_to_doc",)
    partition_mode: Literal["joint", "per_direction"] = "joint"
    hardness_mode: HardnessMode | None = None
    hardness_strength: NonNegativeFloat = 0.0


class MegaBatchMargin(Spec):
    """A margin between the positive and the hardest document of the batch."""

    name: Literal["MegaBatchMarginLoss"] = "MegaBatchMarginLoss"
    positive_margin: float = 0.8
    negative_margin: float = 0.3
    use_mini_batched_version: bool = True
    mini_batch_size: Annotated[PositiveInt, Execution()] = 50


AnyPeer = Annotated[
    MultipleNegativesRanking | CachedMultipleNegativesRanking | MegaBatchMargin,
    Field(discriminator="name"),
]


def build_peer(peer: AnyPeer, model: "SentenceTransformer") -> "nn.Module":
    """The loss of sentence-transformers that `peer` names."""
    from sentence_transformers.sentence_transformer import losses

    loss: nn.Module = getattr(losses, peer.name)(model, **peer.model_dump(exclude={"name"}))
    return loss
