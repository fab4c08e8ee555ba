"""Losses that rank a query's positive above other documents: tuples without labels."""

from dataclasses import replace
from typing import Annotated, ClassVar, Literal, Self

from pydantic import NonNegativeFloat, PositiveFloat, model_validator

from embedkit.core.spec import ModelRef
from embedkit.training.peers.base import IN_BATCH, LOSSES, Data, MiniBatchSize, MiniBatchTokens, Named, Peer, Similarity

Direction = Literal["query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc"]


class _InBatch(Peer):
    learns_from: ClassVar[Data] = IN_BATCH

    scale: PositiveFloat = 20.0
    similarity_fct: Similarity = "cos_sim"
    gather_across_devices: bool = False
    directions: tuple[Direction, ...] = ("query_to_doc",)
    partition_mode: Literal["joint", "per_direction"] = "joint"
    hardness_mode: Literal["in_batch_negatives", "hard_negatives", "all_negatives"] | None = None
    hardness_strength: NonNegativeFloat = 0.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if "query_to_doc" not in self.directions:
            raise ValueError("directions must hold query_to_doc, the one with the positives")
        if self.partition_mode == "per_direction" and {"query_to_query", "doc_to_doc"} & set(self.directions):
            raise ValueError(
                "partition_mode per_direction is for query_to_doc and doc_to_query: others have no positive"
            )
        if (self.hardness_mode is None) != (self.hardness_strength == 0):
            raise ValueError("hardness_mode and a hardness_strength above 0 have an effect only together")
        return self


class MultipleNegativesRankingLoss(_InBatch):
    """In-batch InfoNCE."""

    name: Literal["MultipleNegativesRankingLoss"] = "MultipleNegativesRankingLoss"


class CachedMultipleNegativesRankingLoss(_InBatch):
    """In-batch InfoNCE with gradient caching."""

    name: Literal["CachedMultipleNegativesRankingLoss"] = "CachedMultipleNegativesRankingLoss"
    mini_batch_size: MiniBatchSize = 32
    mini_batch_num_tokens: MiniBatchTokens = None

    @property
    def caches(self) -> bool:
        """Always."""
        return True


class _Guided(Peer):
    guide: ModelRef
    temperature: PositiveFloat = 0.01
    margin_strategy: Literal["absolute", "relative"] = "absolute"
    margin: float = 0.0
    contrast_anchors: bool = True
    contrast_positives: bool = True
    gather_across_devices: bool = False


class GISTEmbedLoss(_Guided):
    """In-batch InfoNCE without the negatives that a guide model finds closer to the query than its positive."""

    name: Literal["GISTEmbedLoss"] = "GISTEmbedLoss"
    learns_from: ClassVar[Data] = replace(IN_BATCH, most=1)


class CachedGISTEmbedLoss(_Guided):
    """GISTEmbedLoss with gradient caching, and with any number of negatives."""

    name: Literal["CachedGISTEmbedLoss"] = "CachedGISTEmbedLoss"
    learns_from: ClassVar[Data] = IN_BATCH
    mini_batch_size: MiniBatchSize = 32
    mini_batch_num_tokens: MiniBatchTokens = None

    @property
    def caches(self) -> bool:
        """Always."""
        return True


class MegaBatchMarginLoss(Peer):
    """A margin between the positive and the hardest document of the batch."""

    name: Literal["MegaBatchMarginLoss"] = "MegaBatchMarginLoss"
    learns_from: ClassVar[Data] = replace(IN_BATCH, most=0)
    positive_margin: float = 0.8
    negative_margin: float = 0.3
    use_mini_batched_version: bool = True
    mini_batch_size: MiniBatchSize = 50
    mini_batch_num_tokens: MiniBatchTokens = None

    @property
    def caches(self) -> bool:
        """By default."""
        return self.use_mini_batched_version


class TripletLoss(Peer):
    """A margin between the distances of the positive and of one negative."""

    name: Literal["TripletLoss"] = "TripletLoss"
    learns_from: ClassVar[Data] = Data("tuples", fewest=1, most=1)
    distance_metric: Annotated[
        Literal["COSINE", "EUCLIDEAN", "MANHATTAN"], Named(f"{LOSSES}:TripletDistanceMetric")
    ] = "EUCLIDEAN"
    triplet_margin: NonNegativeFloat = 5.0
