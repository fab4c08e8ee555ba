"""UNPG: every positive against the negative pairs of the whole batch, without the outliers among them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.nn.functional import logsigmoid
from torch.utils.checkpoint import checkpoint

from embedkit.losses.base import Loss
from embedkit.losses.batch import Batch
from embedkit.losses.blocks import Block, negatives
from embedkit.losses.kernels import product
from embedkit.losses.selection import quantiles

SCANNED = 2**22  # scores held at once while the quartiles are sought


class UNPG(Loss):
    """Each positive against the negative pairs of all queries whose score is no outlier.

        L = 1/B Σ_i 1/|P_i| Σ_{p ∈ P_i} ( log( e^{q_i·d_p / τ} + Σ_{(k, j) ∈ S} e^{q_k·d_j / τ} ) − q_i·d_p / τ )

    S has the pairs of any query k of the batch (of every process, whatever `local` is) and a document j not relevant to
    it whose score lies in [Q₁ − w·(Q₃ − Q₁), Q₃ + w·(Q₃ − Q₁)]. Q₁ and Q₃ are the ⌊n/4⌋-th and ⌊3n/4⌋-th, from 0 and
    ascending, of the scores of all n such pairs; the window has no gradient. w is `whiskers`, null keeps all; τ is
    `temperature`. The paper's denominators hold the logits of class centres too; retrieval has no classes, so they are
    left out: [R].
    Reference: https://arxiv.org/abs/2203.11593; [R] for retrieval.
    """

    kind: Literal["unpg"] = "unpg"
    contrasts: ClassVar[bool] = True
    temperature: PositiveFloat = 0.05
    whiskers: NonNegativeFloat | None = 1.0

    def compute(self, batch: Batch) -> Tensor:
        """See the class."""
        everyone = batch.changed(local=range(len(batch.queries)), tile=None)
        _ = everyone.excluded, everyone.document_factors  # made here, so that parts share them
        if self.whiskers is not None and (window := self._window(everyone, self.whiskers)):
            everyone = everyone.changed(rules=(*everyone.rules, window))
        total = self._log_sum(everyone, batch.tile or len(batch))
        positive = batch.positive_scores() / self.temperature  # (P,)
        return batch.mean_over_queries(-logsigmoid(positive - total))

    def _log_sum(self, batch: Batch, tile: int) -> Tensor:
        """() log Σ e^logit over all negatives; `tile` queries are held at a time, and made again for gradients."""
        if tile >= len(batch):
            return self._part(batch)
        parts = [
            checkpoint(self._part, part, use_reentrant=False, preserve_rng_state=False) for part in _parts(batch, tile)
        ]
        return torch.stack(parts).logsumexp(0)

    def _part(self, batch: Batch) -> Tensor:
        sums = negatives(batch).log_sum_exp(self.temperature)  # (B,), −inf for a query without negatives
        return sums.clamp(min=torch.finfo(sums.dtype).min).logsumexp(0)

    @torch.no_grad()
    def _window(self, batch: Batch, whiskers: float) -> "_Window | None":
        """Where scores of negatives are no outliers; None if there are no negatives."""
        size = max(1, SCANNED // len(batch.documents))

        def scores() -> Iterator[Tensor]:
            return (_scores(negatives(part), self.temperature) for part in _parts(batch, size))

        ends = quantiles(scores, (0.25, 0.75), like=batch.queries)
        if ends is None:
            return None
        first, third = ends
        reach = whiskers * (third - first)
        # scores made in other tiles differ by the rounding of sums of products; at an edge that must not decide
        slack = 8 * torch.finfo(batch.queries.dtype).eps * max(1, abs(first), abs(third))
        return _Window(first - reach - slack, third + reach + slack)


@dataclass(frozen=True)
class _Window:
    """Leaves out scores that are not between two others."""

    low: float
    high: float

    def __call__(self, block: Block, scores: Tensor) -> Tensor:
        """(R, C) log weights: −inf or zero."""
        return torch.zeros_like(scores).masked_fill((scores < self.low) | (scores > self.high), -torch.inf)


def _scores(block: Block, temperature: float) -> Tensor:
    """(n,) scores of the block's negatives, rounded as `log_sum_exp` rounds them."""
    logits = product(block.anchor_embeddings / temperature, block.factors.T, block.batch.product_type)
    scores = logits * temperature
    block.edit(logits, temperature)
    return scores[logits > -torch.inf]


def _parts(batch: Batch, size: int) -> list[Batch]:
    """The batch in ranges of at most `size` local queries."""
    rows = len(batch.queries)
    return [batch.changed(local=range(start, min(start + size, rows))) for start in range(0, rows, size)]
