"""False negatives found by another model."""

from dataclasses import dataclass
from typing import Literal, Self

import torch
from pydantic import NonNegativeFloat, model_validator
from torch import Tensor

from embedkit.core.errors import DataError
from embedkit.losses.base import Need
from embedkit.losses.batch import Batch
from embedkit.losses.blocks import Block
from embedkit.losses.parts import Guide
from embedkit.losses.ragged import Ragged
from embedkit.losses.wrapper import Wrapper, lowest


class Guided(Wrapper):
    """Another loss without the negatives that a guide model scores above the positive.

        L = loss with e^{s_ij / τ} left out where g_ij > g_i − m,   g_i = min_p g(q_i, d_p) over the positives p of i

    in every direction of the loss: s_ij is the score of two texts, of queries or documents, and belongs to query i; g
    are cosines of the guide's embeddings of the same two texts, made beforehand. m is `margin`, or
    `margin_strategy: relative` |g_i| times that. What is no negative in the first place, such as a text and itself, is
    not judged. Scores that differ by rounding alone count as equal.
    Reference: https://arxiv.org/abs/2402.16829 (GISTEmbed); margins as in sentence-transformers, the lowest of several
    positives [R].
    """

    kind: Literal["guided"] = "guided"
    margin: NonNegativeFloat = 0.0
    margin_strategy: Literal["absolute", "relative"] = "absolute"

    @model_validator(mode="after")
    def _has_an_effect(self) -> Self:
        if not self.loss.contrasts:
            raise ValueError(f"loss {self.loss.kind} has no in-batch negatives, from which guided could leave out any")
        return self

    @property
    def needs(self) -> frozenset[Need]:
        """See `Loss`."""
        return self.loss.needs | {"guide"}

    def compute(self, batch: Batch) -> Tensor:
        """See the class."""
        guide = Guide(*(part.to(torch.promote_types(part.dtype, torch.float32)) for part in _guide(batch)))
        positives = batch.positives
        scores = (guide.queries[positives.rows] * guide.documents[positives.values]).sum(1)
        limits = lowest(Ragged(positives.offsets, scores))  # (Q,)
        limits = limits - self.margin * (limits.abs() if self.margin_strategy == "relative" else 1)
        return self.loss(batch.changed(guide=guide, rules=(*batch.rules, _NotAbove(limits))))


@dataclass(frozen=True, eq=False)
class _NotAbove:
    """Leaves out what the guide scores above the limit of the anchor's query."""

    limits: Tensor  # (Q,)

    def __call__(self, block: Block, scores: Tensor) -> Tensor:
        """(R, C) log weights: −inf or zero."""
        guide = _guide(block.batch)
        judged = getattr(guide, block.anchor_side)[block.anchors] @ getattr(guide, block.column_side).T
        slack = 16 * torch.finfo(judged.dtype).eps
        return torch.zeros_like(scores).masked_fill_(judged > (self.limits[block.rows] + slack)[:, None], -torch.inf)


def _guide(batch: Batch) -> Guide:
    if batch.guide is None:
        raise DataError("batch: no guide embeddings; guided needs one of each query and document")
    return batch.guide
