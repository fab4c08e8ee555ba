"""Soft top-k loss of DEXML."""

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor
from torch.nn.functional import logsigmoid

from embedkit.losses.base import Loss
from embedkit.losses.batch import Batch
from embedkit.losses.blocks import negatives


class SoftTopK(Loss):
    """How surely each positive is among the k best documents of its query.

        L = 1/B Σ_i 1/|P_i| Σ_{p ∈ P_i} − log z_ip,   z_ij = σ(α (q_i·d_j / τ + t_i)),   t_i such that Σ_j z_ij = k

    P_i are the positives of query i, j runs over them and its negatives, σ is the logistic function, τ `temperature`,
    α `alpha`. The gradient is exact, through t as well: for logits x, ∂ log z_ip / ∂ x_ij is
    α (1 − z_ip) (1[p = j] − v_j / Σ v) with v_j = z_ij (1 − z_ij). `k: positives` asks for as many documents as the
    query has positives. Where there are no more than k documents, k is one less than there are; where none is a
    negative, the query's part is 0, the limit.
    Reference: https://arxiv.org/abs/2310.10636, SoftTop-k.
    """

    kind: Literal["soft_top_k"] = "soft_top_k"
    tiled: ClassVar[bool] = True
    contrasts: ClassVar[bool] = True
    temperature: PositiveFloat = 0.05
    k: Annotated[int, Field(ge=1)] | Literal["positives"] = 5
    alpha: PositiveFloat = 2.0

    def compute(self, batch: Batch) -> Tensor:
        """See the class."""
        scale = self.alpha / self.temperature
        rows, columns = batch.entries
        local = rows - batch.rows[0]
        positive = batch.positive_scores() * scale  # (P,)
        logits = self.alpha * negatives(batch).logits(self.temperature).detach()  # (B, M)
        logits[local, columns] = positive.detach()
        shift = _shift(logits, self._counts(batch, logits))
        slopes = _slopes(logits, shift)
        # The derivative of t is −v_j / Σ v for x_j: through a mean of documents, so that no scores stay in the graph.
        mean = scale * (batch.local_queries * (slopes @ batch.documents)).sum(1)  # (B,)
        shift = shift - (mean - mean.detach())
        return batch.mean_over_queries(-logsigmoid(positive + shift[local]))

    def _counts(self, batch: Batch, logits: Tensor) -> Tensor:
        """(B,) k of each query."""
        number = batch.positives.lengths[batch.rows]
        count = number if self.k == "positives" else torch.full_like(number, self.k)
        candidates = (logits > -torch.inf).sum(1)
        return torch.where(candidates > number, count.minimum(candidates - 1), 0)


def _shift(logits: Tensor, counts: Tensor) -> Tensor:
    """(B,) t with Σ_j σ(x_j + t) = k, for 0 < k < the number of finite x in the row; ∞ where k is 0.

    It is where Σ σ(−x − t) over the k largest x equals Σ σ(x + t) over the rest, found by bisection on the logarithms
    of both, which keep their precision however far apart the two groups are.
    """
    largest = logits.topk(max(int(counts.max()), 1), dim=1)
    chosen = torch.arange(largest.values.shape[1], device=logits.device) < counts[:, None]
    top = -largest.values.masked_fill(~chosen, torch.inf)
    rest = logits.scatter(1, largest.indices, largest.values.masked_fill(chosen, -torch.inf))
    worst, best = top.amax(1), rest.amax(1)
    top, rest = (top - worst[:, None]).exp_(), (rest - best[:, None]).exp_()
    # At `low` the k-th largest and the rest fill one place at most; at `high` the k + 1 largest fill k places or more.
    low = worst - (rest > 0).sum(1, dtype=logits.dtype).log()
    high = counts.to(logits.dtype).log() - best
    for _ in range(8 - round(math.log2(torch.finfo(logits.dtype).eps))):
        middle = (low + high) / 2
        under = _log_sum_sigmoid(top, worst - middle) > _log_sum_sigmoid(rest, best + middle)
        low, high = torch.where(under, middle, low), torch.where(under, high, middle)
    return torch.where(counts > 0, (low + high) / 2, torch.inf)


def _log_sum_sigmoid(weights: Tensor, shift: Tensor) -> Tensor:
    """(B,) log Σ_j σ(log w_j + s), where e^s is finite."""
    return shift + (weights / (1 + weights * shift.exp()[:, None])).sum(1).log()


def _slopes(logits: Tensor, shift: Tensor) -> Tensor:
    """(B, M) σ′(x_j + t) over its sum in the row: how much x_j counts for t. Zeros where t is ∞."""
    moved = logits + shift[:, None]
    shares = (logsigmoid(moved) + logsigmoid(-moved)).softmax(1)  # never 0 / 0 where σ saturates
    return shares.masked_fill(shift.isinf()[:, None], 0)
