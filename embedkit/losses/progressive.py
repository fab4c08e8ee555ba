"""Hard negatives that weigh more as training goes on."""

from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from embedkit.core.errors import DataError
from embedkit.losses.base import Need
from embedkit.losses.batch import Batch
from embedkit.losses.blocks import Block
from embedkit.losses.ragged import Ragged
from embedkit.losses.wrapper import Wrapper, lowest

FLOOR = 0.01  # of weights, which must be positive: early in training t and s may both be below 0


class Progressive(Wrapper):
    """Another loss whose hard negatives weigh little at first, and more as positives come to score higher. [R]

        L = loss with g_ij e^{q_i·d_j / τ} for e^{q_i·d_j / τ},   g_ij = 1 if q_i·d_j ≤ s_i, else max(t + q_i·d_j, 0.01)

    for documents j as negatives of query i; texts compared in other directions keep weight 1. s_i is the lowest score
    of a positive of i; t is the mean score of positives, first of the first batch and from then on

        t ← μ t + (1 − μ) · mean of this batch       over the queries of every process; μ `momentum`

    No gradient goes through g.
    Reference: [R] this project's formulation, after https://arxiv.org/abs/2004.00288 (CurricularFace), where g is a
    factor of the cosine.
    """

    kind: Literal["progressive"] = "progressive"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.99

    @model_validator(mode="after")
    def _has_an_effect(self) -> Self:
        if not self.loss.contrasts:
            raise ValueError(f"loss {self.loss.kind} has no in-batch negatives, which progressive could weigh")
        if "level" in self.loss.needs:
            raise ValueError(f"loss {self.loss.kind} keeps a level of its own; progressive once is enough")
        return self

    @property
    def needs(self) -> frozenset[Need]:
        """See `Loss`."""
        return self.loss.needs | {"level"}

    @torch.no_grad()
    def next_level(self, level: Tensor | None, batch: Batch) -> Tensor:
        """See `Loss`."""
        batch = batch.full_precision().changed(local=range(len(batch.queries)))
        mean = batch.mean_over_queries(batch.positive_scores())
        return mean if level is None else self.momentum * level.to(mean) + (1 - self.momentum) * mean

    def compute(self, batch: Batch) -> Tensor:
        """See the class."""
        return self.loss(batch.changed(rules=(*batch.rules, weigh)))


@torch.no_grad()
def weigh(block: Block, scores: Tensor) -> Tensor:
    """(R, C) log g, zero for queries and between documents."""
    if block.direction != "query_to_document":
        return torch.zeros_like(scores)
    batch = block.batch
    if batch.level is None:
        raise DataError("batch: no level; progressive needs the running mean score of positives")
    positives = Ragged(batch.positives.take(batch.rows).offsets, batch.positive_scores())
    limits = lowest(positives)[:, None]
    slack = 16 * torch.finfo(scores.dtype).eps * limits.abs().clamp(min=1)  # rounding does not make a negative hard
    weights = (batch.level.to(scores) + scores).clamp_(min=FLOOR).log_()
    return weights.masked_fill_(scores <= limits + slack, 0)
