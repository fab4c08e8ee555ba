"""Rules that InfoNCE and wrappers give a batch: which negatives weigh more, and which are left out."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from embedkit.core.errors import DataError
from embedkit.losses.blocks import Block

HardnessOf = Literal["all", "own", "in_batch"]


@dataclass(frozen=True)
class Hardness:
    """Log weight α · score of a document for a query: hard negatives push more (LLaVE, arXiv 2503.04812, eq. 5)."""

    strength: float
    of: HardnessOf = "all"

    def __call__(self, block: Block, scores: Tensor) -> Tensor:
        """(R, C) log weights, zero for queries and between documents."""
        if block.direction != "query_to_document":
            return torch.zeros_like(scores)
        weights = self.strength * scores
        if self.of == "all":
            return weights
        own = block.batch.negatives.take(block.rows)
        mask = torch.zeros_like(scores, dtype=torch.bool)
        mask[own.rows, own.values] = True
        return weights.masked_fill(~mask if self.of == "own" else mask, 0)


class SameClass:
    """Leaves out texts of the class of the anchor's query (QZhou-Embedding, arXiv 2508.21632)."""

    def __call__(self, block: Block, scores: Tensor) -> Tensor:
        """(R, C) log weights: −inf or zero."""
        queries, documents = block.batch.query_classes, block.batch.doc_classes
        if queries is None or documents is None:
            raise DataError("batch: no classes; mask_classes needs the class of each query and document")
        mine = queries[block.rows][:, None]
        theirs = queries if block.column_side == "queries" else documents
        return torch.zeros_like(scores).masked_fill((mine == theirs) & (mine >= 0), -torch.inf)
