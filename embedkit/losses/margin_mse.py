"""MarginMSE distillation."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from embedkit.losses.base import Batch, Loss, Ragged


class MarginMSE(Loss):
    """Match the teacher's margin between each positive and each of the query's own negatives.

        L = 1/B Σ_i mean over p, n of ( (q_i·d_p − q_i·d_n) − (t_ip − t_in) )²

    p runs over the query's positives, n over its own negatives; t are the teacher's scores.
    Cosines lie in [−1, 1]: bring the teacher's scores to that scale first.
    Reference: https://arxiv.org/abs/2010.02666, eq. 7.
    """

    kind: Literal["margin_mse"] = "margin_mse"
    needs_targets: ClassVar[bool] = True

    def compute(self, batch: Batch) -> Tensor:
        """See the class."""
        scores = (batch.queries[batch.own.rows] * batch.documents[batch.own.values]).sum(-1)  # (n,)
        errors = Ragged(batch.own.offsets, scores - batch.own_targets.values.to(scores.dtype))
        error, present = errors.padded()  # (B, L); the error of a margin is the difference of two
        positive = torch.arange(error.shape[1], device=error.device) < batch.positives.lengths[:, None]
        pairs = positive[:, :, None] & (present & ~positive)[:, None, :]  # (B, L, L)
        squares = (error[:, :, None] - error[:, None, :]).square().masked_fill(~pairs, 0)
        return (squares.sum((1, 2)) / pairs.sum((1, 2)).clamp(min=1)).mean()
