"""One of each loss of sentence-transformers that a recipe can name; they refer to a model `other`."""

from typing import Any

_INNER = {"name": "MultipleNegativesRankingLoss"}
_SPECS: list[dict[str, Any]] = [
    {"name": "AdaptiveLayerLoss", "loss": _INNER},
    {"name": "AnglELoss"},
    {"name": "BatchAllTripletLoss"},
    {"name": "BatchHardSoftMarginTripletLoss"},
    {"name": "BatchHardTripletLoss", "distance_metric": "cosine_distance"},
    {"name": "BatchSemiHardTripletLoss"},
    {"name": "CachedGISTEmbedLoss", "guide": "other", "mini_batch_size": 5},
    {"name": "CachedMultipleNegativesRankingLoss", "mini_batch_size": 5},
    {"name": "CoSENTLoss"},
    {"name": "ContrastiveLoss"},
    {"name": "CosineSimilarityLoss", "loss_fct": "L1Loss"},
    {"name": "DistillKLDivLoss"},
    {"name": "EmbedDistillLoss", "teacher": "other", "projection_dim": 32},
    {"name": "GISTEmbedLoss", "guide": "other"},
    {"name": "GlobalOrthogonalRegularizationLoss", "loss": _INNER},
    {"name": "MSELoss", "teacher": "other"},
    {"name": "MarginMSELoss"},
    {"name": "Matryoshka2dLoss", "loss": _INNER, "matryoshka_dims": [32, 16]},
    {"name": "MatryoshkaLoss", "loss": _INNER, "matryoshka_dims": [32, 16, 8]},
    {"name": "MegaBatchMarginLoss", "mini_batch_size": 5},
    {"name": "MultipleNegativesRankingLoss", "similarity_fct": "dot_score", "scale": 1.0},
    {"name": "OnlineContrastiveLoss"},
    {"name": "SoftmaxLoss", "num_labels": 3},
    {"name": "TripletLoss", "distance_metric": "COSINE", "triplet_margin": 0.5},
]
EXAMPLES = {spec["name"]: spec for spec in _SPECS}
