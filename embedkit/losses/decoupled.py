"""Decoupled softmax of DEXML."""

from typing import ClassVar, Literal

from pydantic import PositiveFloat
from torch import Tensor
from torch.nn.functional import logsigmoid

from embedkit.losses.base import Loss
from embedkit.losses.batch import Batch
from embedkit.losses.blocks import negatives


class DecoupledSoftmax(Loss):
    """Cross-entropy of each positive among the negatives and itself, so that positives do not compete.

        L = 1/B Σ_i 1/|P_i| Σ_{p ∈ P_i} − log( e^{x_ip} / (e^{x_ip} + Σ_{n ∈ N_i} e^{x_in}) ),   x_ij = q_i·d_j / τ

    P_i are the positives of query i, N_i the documents not relevant to it, τ is `temperature`. `reduction: sum` drops
    1/|P_i|: a query counts by its positives. With `mean` this is plain `infonce`. The multi-label softmax (`infonce`
    with `other_positives: negatives`) has the other positives in the denominator too, and pushes a good positive down
    once its probability is over 1/|P_i|; here every positive is always pulled up. `dcl` removes the positive itself.
    Reference: https://arxiv.org/abs/2310.10636, DecoupledSoftmax.
    """

    kind: Literal["decoupled_softmax"] = "decoupled_softmax"
    tiled: ClassVar[bool] = True
    contrasts: ClassVar[bool] = True
    temperature: PositiveFloat = 0.05
    reduction: Literal["mean", "sum"] = "mean"  # over the positives of a query

    def compute(self, batch: Batch) -> Tensor:
        """See the class."""
        rows, _ = batch.entries
        against = negatives(batch).log_sum_exp(self.temperature)[rows - batch.rows[0]]  # (P,)
        losses = -logsigmoid(batch.positive_scores() / self.temperature - against)
        return losses.sum() / len(batch) if self.reduction == "sum" else batch.mean_over_queries(losses)
