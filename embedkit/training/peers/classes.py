"""Losses that learn from single texts with classes: texts of one class together, texts of others apart."""

from typing import Annotated, ClassVar, Literal

from pydantic import NonNegativeFloat

from embedkit.training.peers.base import LOSSES, Data, Named, Peer


class _Batch(Peer):
    learns_from: ClassVar[Data] = Data("texts", "classes", most=0, sampler="group_by_label")

    distance_metric: Annotated[
        Literal["euclidean_distance", "cosine_distance"], Named(f"{LOSSES}:BatchHardTripletLossDistanceFunction")
    ] = "euclidean_distance"


class _BatchMargin(_Batch):
    margin: NonNegativeFloat = 5.0


class BatchAllTripletLoss(_BatchMargin):
    """Every triplet of the batch that breaks the margin."""

    name: Literal["BatchAllTripletLoss"] = "BatchAllTripletLoss"


class BatchHardTripletLoss(_BatchMargin):
    """Each text's furthest of its class against its closest of another."""

    name: Literal["BatchHardTripletLoss"] = "BatchHardTripletLoss"


class BatchHardSoftMarginTripletLoss(_Batch):
    """BatchHardTripletLoss with a soft margin."""

    name: Literal["BatchHardSoftMarginTripletLoss"] = "BatchHardSoftMarginTripletLoss"


class BatchSemiHardTripletLoss(_BatchMargin):
    """Each text's negatives that are further than a positive, but within the margin."""

    name: Literal["BatchSemiHardTripletLoss"] = "BatchSemiHardTripletLoss"
