"""MarginMSE distillation."""

from typing import Literal

import torch
from torch import Tensor

from embedkit.losses.base import Loss, Need
from embedkit.losses.batch import Batch
from embedkit.losses.listwise import finite
from embedkit.losses.ragged import Ragged


class MarginMSE(Loss):
    """Squared error of the margins of positives over the query's own negatives, as a teacher gives them.

        L = 1/B Σ_i mean over p, n of ( (q_i·d_p − q_i·d_n) − (t_ip − t_in) )²

    p runs over the query's positives, n over its own negatives (without any, the query adds 0); t are the teacher's
    scores. Cosines lie in [−1, 1]: bring the teacher's scores to that scale first.
    Reference: https://arxiv.org/abs/2010.02666, eq. 7.
    """

    kind: Literal["margin_mse"] = "margin_mse"

    @property
    def needs(self) -> frozenset[Need]:
        """See `Loss`."""
        return frozenset({"targets", "negatives"})

    def compute(self, batch: Batch) -> Tensor:
        """See the class."""
        own, targets = batch.own.take(batch.rows), finite(batch.own_targets.take(batch.rows).values)
        scores = (batch.local_queries[own.rows] * batch.pick(own.values)).sum(-1)  # (n,)
        error, present = Ragged(own.offsets, scores - targets.to(scores.dtype)).padded()  # (B, L)
        number = batch.positives.lengths[batch.rows]
        positive = torch.arange(error.shape[1], device=error.device) < number[:, None]
        negative = present & ~positive
        # the error of a margin is the difference of two errors, whose mean square over all pairs is that of two means
        (first, first_spread), (second, second_spread) = _moments(error, positive), _moments(error, negative)
        squares = (first - second).square() + first_spread + second_spread
        return squares.masked_fill(~negative.any(1), 0).mean()


def _moments(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) mean and variance of each row where `mask`, 0 where that is nowhere."""
    count = mask.sum(1).clamp(min=1)
    mean = values.masked_fill(~mask, 0).sum(1) / count
    deviations = (values - mean[:, None]).masked_fill(~mask, 0)
    return mean, deviations.square().sum(1) / count
