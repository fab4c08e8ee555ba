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

CACHED, HELD = 2**18, 2**24  # scores worked on at once: what a CPU's cache holds, what keeps a GPU busy


class SoftTopK(Loss):
    """How surely each positive is among the k best documents of its query.

        L = 1/B Σ_i 1/|P_i| Σ_{p ∈ P_i} − log z_ip,   z_ij = σ(α (q_i·d_j / τ + t_i)),   t_i such that Σ_j z_ij = k

    P_i are the positives of query i, j runs over them and its negatives, σ is the logistic function, τ `temperature`,
    α `alpha`. The gradient is exact, through t as well: for logits x, ∂ log z_ip / ∂ x_ij is
    α (1 − z_ip) (1[p = j] − v_j / Σ v) with v_j = z_ij (1 − z_ij). `k: positives` asks for as many documents as the
    query has positives. Where there are no more than k documents, k is one less than there are [R]; where none is a
    negative, the query's part is 0, the limit.
    Reference: https://arxiv.org/abs/2310.10636, SoftTop-k; for too few documents [R].
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
        with torch.no_grad():
            logits = negatives(batch).logits(self.temperature).mul_(self.alpha)  # (B, M)
            logits[local, columns] = positive
            shift = _shift_into_slopes(logits, self._counts(batch, logits))
        slopes = logits
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


def _shift_into_slopes(logits: Tensor, counts: Tensor) -> Tensor:
    """(B,) t of each row; the slopes take the place of `logits`. Temporary matrices have one block of rows each."""
    size = max(1, (CACHED if logits.device.type == "cpu" else HELD) // logits.shape[1])
    shifts = []
    for part, count in zip(torch.split(logits, size), torch.split(counts, size), strict=True):
        shifts.append(_shift(part, count))
        part.copy_(_slopes(part, shifts[-1]))
    return torch.cat(shifts)


def _shift(logits: Tensor, counts: Tensor) -> Tensor:
    """(B,) t with Σ_j σ(x_j + t) = k, for 0 < k < the number of finite x in the row; ∞ where k is 0.

    It is where Σ σ(−x − t) over the k largest x equals Σ σ(x + t) over the rest. The difference of the logarithms of
    both keeps its precision however far apart the two groups are, and its slope is between −2 and −1, as no x of the
    rest is above one of the k: so a value f at t says that the root is within [t + f/2, t + f], and one of Newton's
    steps ends in there. The second derivative is at most ½: after a step below √ε the error is below ε.
    """
    largest = logits.topk(max(int(counts.max()), 1), dim=1)
    chosen = torch.arange(largest.values.shape[1], device=logits.device) < counts[:, None]
    top = -largest.values.masked_fill(~chosen, torch.inf)
    rest = logits.scatter(1, largest.indices, largest.values.masked_fill(chosen, -torch.inf))
    worst, best = top.amax(1), rest.amax(1)
    top, rest = (top - worst[:, None]).exp_(), rest.sub_(best[:, None]).exp_()
    # At `low` the k-th largest and the rest fill one place at most; at `high` the k + 1 largest fill k places or more.
    low = worst - (rest > 0).sum(1, dtype=logits.dtype).log()
    high = counts.to(logits.dtype).log() - best
    epsilon = torch.finfo(logits.dtype).eps
    shift = (low + high) / 2
    for _ in range(8 - round(math.log2(epsilon))):
        (of_top, top_slope), (of_rest, rest_slope) = _log_sum(top, worst - shift), _log_sum(rest, best + shift)
        value = of_top - of_rest
        low, high = low.maximum(shift + value.minimum(value / 2)), high.minimum(shift + value.maximum(value / 2))
        before, shift = shift, (shift + value / (top_slope + rest_slope)).clamp(low, high)
        rounding = 4 * epsilon * torch.stack([worst, best, shift]).abs().amax(0)
        if not bool(((shift - before).abs() > math.sqrt(epsilon) + rounding).any()):  # NaN where k is 0
            break
    return torch.where(counts > 0, shift, torch.inf)


def _log_sum(weights: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) log Σ_j σ(log w_j + s), where e^s is finite, and its derivative by s."""
    scale = shift.exp()
    parts = weights / torch.addcmul(torch.ones_like(scale)[:, None], weights, scale[:, None])
    total = parts.sum(1)
    return shift + total.log(), 1 - scale * torch.linalg.vecdot(parts, parts) / total


def _slopes(logits: Tensor, shift: Tensor) -> Tensor:
    """(B, M) σ′(x_j + t) over its sum in the row: how much x_j counts for t. Zeros where t is ∞."""
    moved = logits + shift[:, None]
    shares = (logsigmoid(moved) + logsigmoid(-moved)).softmax(1)  # never 0 / 0 where σ saturates
    return shares.masked_fill(shift.isinf()[:, None], 0)
