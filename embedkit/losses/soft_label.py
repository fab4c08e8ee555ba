"""InfoNCE blended with graded targets from a teacher."""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from embedkit.losses.base import Loss, Need
from embedkit.losses.batch import Batch
from embedkit.losses.infonce import InfoNCE


class SoftLabelInfoNCE(Loss):
    """The teacher's distribution over a query's own list as the target, with hard InfoNCE as an anchor. [R]

        L = (1 − α) · InfoNCE + α · 1/B Σ_i − Σ_j P_ij log softmax_j(q_i·d_j / τ),   P_ij = softmax_j(t_ij / τ_t)

    j runs over the query's own positives and negatives, which are what the teacher has scored; t are the teacher's
    scores, τ `temperature`, τ_t `teacher_temperature`, α `alpha`. `divergence: forward_kl` subtracts the targets'
    entropy: the same gradient, zero where student and teacher agree.
    With `hard_negatives: false` the hard term sees the batch without mined negatives: a false negative among them then
    meets nothing but the teacher's judgement of it.
    Reference: [R] this project's formulation: cross-entropy with soft targets as in https://arxiv.org/abs/1503.02531,
    over candidate lists.
    """

    kind: Literal["soft_label_infonce"] = "soft_label_infonce"
    hard: InfoNCE = InfoNCE()
    hard_negatives: bool = True  # whether mined negatives count in the hard term too
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    temperature: PositiveFloat = 0.05
    teacher_temperature: PositiveFloat = 0.1
    divergence: Literal["cross_entropy", "forward_kl"] = "cross_entropy"

    @property
    def needs(self) -> frozenset[Need]:
        """See `Loss`."""
        return self.hard.needs | {"targets", "negatives"}

    def compute(self, batch: Batch) -> Tensor:
        """See the class."""
        hard = self.hard(batch if self.hard_negatives else batch.without_negatives())
        return (1 - self.alpha) * hard + self.alpha * self._soft(batch)

    def _soft(self, batch: Batch) -> Tensor:
        columns, present = batch.own.take(batch.rows).padded()  # (B, L)
        targets, _ = batch.own_targets.take(batch.rows).padded()
        scores = torch.einsum("bd,bld->bl", batch.local_queries, batch.documents[columns])
        student = (scores / self.temperature).masked_fill(~present, -torch.inf).log_softmax(1)
        teacher = (targets.to(scores.dtype) / self.teacher_temperature).masked_fill(~present, -torch.inf).softmax(1)
        losses = -(teacher * student.masked_fill(~present, 0)).sum(1)  # (B,)
        if self.divergence == "forward_kl":
            losses = losses - torch.special.entr(teacher).sum(1)
        return losses.mean()
