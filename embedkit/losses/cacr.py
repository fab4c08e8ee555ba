"""Contrastive attraction and repulsion: far positives pull harder, near negatives push harder."""

from typing import ClassVar, Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor

from embedkit.losses.base import Loss
from embedkit.losses.batch import Batch
from embedkit.losses.blocks import negatives
from embedkit.losses.ragged import Ragged


class CACR(Loss):
    """Squared distance to the positives, far ones first, less that to the negatives, near ones first.

        L = 1/B Σ_i ( Σ_{p ∈ P_i} a_ip d²_ip − Σ_j r_ij d²_ij ),   d²_ij = |q_i − d_j|² = 2 − 2 q_i·d_j at unit length

        a_ip = softmax_p(+t₊ d²_ip)           over the positives P_i of query i
        r_ij = softmax_j(−t₋ d²_ij)           over documents not relevant to it (own negatives and in-batch)

    t₊ is `attraction`, t₋ `repulsion`; with `detach_weights` no gradient goes through a and r. A query without
    negatives has no second term. Made for several positives a query: with one its weight is 1.
    Reference: https://arxiv.org/abs/2105.03746.
    """

    kind: Literal["cacr"] = "cacr"
    tiled: ClassVar[bool] = True
    contrasts: ClassVar[bool] = True
    attraction: PositiveFloat = 1.0
    repulsion: PositiveFloat = 1.0
    detach_weights: bool = False

    def compute(self, batch: Batch) -> Tensor:
        """See the class."""
        return (self._attraction(batch) - self._repulsion(batch)).mean()

    def _attraction(self, batch: Batch) -> Tensor:
        rows, columns = batch.entries
        apart = batch.local_queries[rows - batch.rows[0]] - batch.pick(columns)
        distances, present = Ragged(batch.positives.take(batch.rows).offsets, apart.square().sum(-1)).padded()  # (B, L)
        weights = (self.attraction * distances).masked_fill(~present, -torch.inf).softmax(1)
        return (self._fixed(weights) * distances).sum(1)

    def _repulsion(self, batch: Batch) -> Tensor:
        """(B,) Σ_j r_ij (|q_i|² + |d_j|² − 2 q_i·d_j), summed over j before it meets q_i: no (B, M) of distances."""
        queries, documents = batch.local_queries, batch.documents
        squares = documents.square().sum(1)  # (M,)
        # −t₋ d² without t₋ |q|², which is the same for the whole row
        logits = negatives(batch).logits(0.5 / self.repulsion) - self.repulsion * squares
        none = logits.isneginf().all(1, keepdim=True)
        weights = self._fixed(logits.masked_fill(none, 0).softmax(1).masked_fill(none, 0))
        return (
            weights.sum(1) * queries.square().sum(1) + weights @ squares - 2 * (queries * (weights @ documents)).sum(1)
        )

    def _fixed(self, weights: Tensor) -> Tensor:
        return weights.detach() if self.detach_weights else weights
