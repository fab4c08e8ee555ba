"""Losses of sentence-transformers that a recipe can name, with the arguments they take.

Each is a small class of its own rather than a row of a table from which models are made: so its arguments have types
that an editor completes and mypy checks, a mistake is told before anything runs, and what must hold between arguments
can be said. Names and defaults are those of sentence-transformers, functions among the arguments go by their names
there; tests compare both with its signatures, and `AnyPeer`, `NOT_OFFERED` and `NOT_SET` together with all it has.
None of this imports sentence-transformers.
"""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from embedkit.training.peers.base import Data, Peer
from embedkit.training.peers.ranking import MultipleNegativesRankingLoss
from embedkit.training.peers.wrappers import AdaptiveLayerLoss, Inner, Matryoshka2dLoss, MatryoshkaLoss

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn

    from embedkit.training.peers.base import OpenModel

__all__ = ["NOT_OFFERED", "NOT_SET", "AnyPeer", "Data", "MultipleNegativesRankingLoss", "Peer", "build_peer"]

_DISTANCE = "no loss: its functions are the values of `distance_metric`"
_SYMMETRIC = "deprecated: it is {} with directions [query_to_doc, doc_to_query], partition_mode per_direction"
NOT_OFFERED = {
    "BatchHardTripletLossDistanceFunction": _DISTANCE,
    "CachedMultipleNegativesSymmetricRankingLoss": _SYMMETRIC.format("CachedMultipleNegativesRankingLoss"),
    "ContrastiveTensionDataLoader": "no loss: a data loader of the deprecated `fit`",
    "ContrastiveTensionLoss": "trains a second copy of the model, which checkpoints do not keep",
    "ContrastiveTensionLossInBatchNegatives": "trains a second copy of the model, which checkpoints do not keep",
    "DenoisingAutoEncoderLoss": "trains a decoder that it loads from wherever the model says it came from",
    "MultipleNegativesSymmetricRankingLoss": _SYMMETRIC.format("MultipleNegativesRankingLoss"),
    "SiameseDistanceMetric": _DISTANCE,
    "TripletDistanceMetric": _DISTANCE,
}
"""What sentence-transformers has besides `AnyPeer`, and why it is not there."""

NOT_SET = {
    "embedding_dimension": "the model's",
    "model": "the stage's",
    "show_progress_bar": "progress is shown by the run",
}
"""Arguments that a recipe does not set, and why."""

AnyPeer = Annotated[
    Inner | AdaptiveLayerLoss | Matryoshka2dLoss | MatryoshkaLoss,
    Field(discriminator="name"),
]


def build_peer(peer: Peer, model: "SentenceTransformer", open_model: "OpenModel | None" = None) -> "nn.Module":
    """The loss of sentence-transformers that `peer` names; `open_model` loads the models it refers to."""

    def missing(name: str) -> "SentenceTransformer":
        raise KeyError(name)

    return peer.build(model, open_model or missing)
