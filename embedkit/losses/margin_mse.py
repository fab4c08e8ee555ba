"""MarginMSE distillation."""

from typing import Literal

import torch
from torch import Tensor

from embedkit.losses.base import Loss, Need
from embedkit.losses.batch import Batch
from embedkit.losses.ragged import Ragged


class MarginMSE(Loss):
    """Match the teacher's margin between each positive and each of the query's own negatives.

        L = 1/B Σ_i mean over p, n of ( (q_i·d_p − q_i·d_n) − (t_ip − t_in) )²

    p runs over the query's positives, n over its own negatives; t are the teacher's scores.
    Cosines lie in [−1, 1]: bring the teacher's scores to that scale first.
    Reference: https://arxiv.org/abs/2010.02666, eq. 7.
    """

    kind: Literal["margin_mse"] = "margin_mse"

    @property
    def needs(self) -> frozenset[Need]:
        """See `Loss`."""
        return frozenset({"targets", "negatives"})

    def compute(self, batch: Batch) -> Tensor:
        """See the class."""
        own, targets = batch.own.take(batch.rows), batch.own_targets.take(batch.rows)
        scores = (batch.local_queries[own.rows] * batch.pick(own.values)).sum(-1)  # (n,)
        errors = Ragged(own.offsets, scores - targets.values.to(scores.dtype))
        error, present = errors.padded()  # (B, L); the error of a margin is the difference of two
        number = batch.positives.lengths[batch.rows]
        positive = torch.arange(error.shape[1], device=error.device) < number[:, None]
        pairs = positive[:, :, None] & (present & ~positive)[:, None, :]  # (B, L, L)
        squares = (error[:, :, None] - error[:, None, :]).square().masked_fill(~pairs, 0)
        return (squares.sum((1, 2)) / pairs.sum((1, 2)).clamp(min=1)).mean()
