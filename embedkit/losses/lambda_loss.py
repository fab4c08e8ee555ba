"""LambdaLoss: pairs weighted by what their order is worth in the metric."""

from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import logsigmoid

from embedkit.losses.base import Loss, Need
from embedkit.losses.batch import Batch
from embedkit.losses.ragged import Ragged


class LambdaLoss(Loss):
    """Pairs of a query's own list, each weighted by what exchanging the two would change in the metric.

        L = 1/B Σ_i 1/(|P_i| |N_i|) Σ_{p ∈ P_i} Σ_{n ∈ N_i} |c(r_ip) − c(r_in)| log(1 + e^{(q_i·d_n − q_i·d_p) / τ})
        c(r) = 1 / r                 for ranks r ≤ `cut`, 0 beyond

    P_i are the positives of query i and N_i its own negatives, r_ij is the rank of document j among both by the
    student's scores, from 1, without gradient; of equal scores the one that is first in the list comes first. c is the
    reciprocal rank: pairs at the top count most. τ is `temperature`; `cut: null` has no end. A query without negatives
    has no loss. Meant for lists that the model itself has retrieved, as `adore` makes them; where positives were added
    to a list their rank is the one they have in it.
    Reference: https://arxiv.org/abs/2104.08051 (ADORE); LambdaLoss: https://doi.org/10.1145/3269206.3271784.
    """

    kind: Literal["lambda"] = "lambda"
    temperature: PositiveFloat = 0.05
    cut: PositiveInt | None = None

    @property
    def needs(self) -> frozenset[Need]:
        """See `Loss`."""
        return frozenset({"negatives"})

    def compute(self, batch: Batch) -> Tensor:
        """See the class."""
        own = batch.own.take(batch.rows)
        scores = (batch.local_queries[own.rows] * batch.pick(own.values)).sum(-1)  # (n,)
        lists, present = Ragged(own.offsets, scores).padded()  # (B, L)
        positives = batch.positives.take(batch.rows)
        gains = self._gains(lists.detach().masked_fill(~present, -torch.inf))
        place = torch.arange(lists.shape[1], device=lists.device)
        negative = present & (place >= positives.lengths[:, None])  # a list begins with its positives
        rows = positives.rows  # (P,)
        first = torch.arange(len(rows), device=rows.device) - positives.offsets[rows]  # place of each positive
        weights = (gains[rows] - gains[rows, first][:, None]).abs() * negative[rows]
        ahead = (lists[rows, first][:, None] - lists[rows]) / self.temperature
        sums = (weights * -logsigmoid(ahead)).sum(1)  # (P,)
        return batch.mean_over_queries(sums / negative.sum(1).clamp(min=1)[rows])

    def _gains(self, scores: Tensor) -> Tensor:
        """(B, L) c of each document's rank, of its scores; −inf where there is none."""
        ranks = scores.argsort(dim=1, descending=True, stable=True).argsort(dim=1) + 1
        gains = ranks.to(scores.dtype).reciprocal()
        return gains if self.cut is None else gains.masked_fill(ranks > self.cut, 0)
