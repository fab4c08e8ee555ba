"""The Mann-Whitney loss, which trains one threshold of score for all queries."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor

from embedkit.core.spec import Execution
from embedkit.losses.base import Loss
from embedkit.losses.batch import Batch
from embedkit.losses.blocks import negatives
from embedkit.losses.kernels import add_product, product
from embedkit.losses.pairwise import Evaluation, pair_sums


class MannWhitney(Loss):
    """Every positive above all negatives of all queries: a smooth bound of the area over the ROC curve.

        L = 1/|P| Σ_{(i,p) ∈ P} 1/|N| Σ_{(k,n) ∈ N} log(1 + h_kn e^{(q_k·d_n − q_i·d_p) / τ})

    P are the positives of all queries and N their negatives: every document not relevant to the query k, weighted by
    rules (h, 1 without them). `reduction: sum_negatives` leaves out 1/|N|, as the paper does: its gradients grow with
    the square of the batch. L / log 2 of the mean is at least the share of pairs with the positive not above. Adding a
    constant to the scores of one query changes it, unlike InfoNCE. τ is `temperature`. With
    `evaluation: pairs` pairs are summed one by one; `fast` takes time in proportion to |P| + |N|, for the same value
    to 1e-10; `auto` is the quicker of both.
    Reference: https://arxiv.org/abs/2510.00137.
    """

    kind: Literal["mann_whitney"] = "mann_whitney"
    tiled: ClassVar[bool] = False  # `compute` makes tiles itself: of negatives alone, counted over the whole batch
    contrasts: ClassVar[bool] = True
    temperature: PositiveFloat = 0.01
    reduction: Literal["mean", "sum_negatives"] = "mean"
    evaluation: Annotated[Evaluation, Execution()] = "auto"

    def compute(self, batch: Batch) -> Tensor:
        """See the class."""
        rows, columns = batch.positives.rows, batch.positives.values
        positive = (batch.queries[rows] * batch.pick(columns)).sum(-1) / self.temperature  # (P,) of all queries
        inputs = positive, batch.local_queries, batch.documents
        gradients = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
        value: Tensor = _SumOverPairs.apply(*inputs, batch, self, gradients)  # type: ignore[no-untyped-call]
        return value

    def scale(self, batch: Batch, local: Tensor) -> float:
        """What the sum over pairs with the local queries' negatives is multiplied by; `local` () counts these."""
        share = len(batch.queries) / len(batch)  # that sum stands for the one over all queries
        pairs = len(batch.positives.values) * (_number_of_negatives(batch, local) if self.reduction == "mean" else 1)
        return share / max(pairs, 1)


class _SumOverPairs(torch.autograd.Function):
    """Scaled Σ_p Σ_n log(1 + e^{n − p}) over positives p and negatives n of the local queries, tile by tile.

    Gradients are made in the forward pass, so that the scores of one tile are in memory, and made once.
    """

    @staticmethod
    def forward(
        ctx: Any,
        positive: Tensor,
        queries: Tensor,
        documents: Tensor,
        batch: Batch,
        loss: MannWhitney,
        gradients: bool,
    ) -> Tensor:
        factors, dtype = batch.document_factors, batch.product_type
        value, number = (positive.new_zeros((), dtype=kind) for kind in (torch.float64, torch.int64))
        made = [torch.zeros_like(t) for t in (positive, queries, documents)] if gradients else []
        local = batch.local or range(0)
        for part in _parts(batch, local):
            rows = part.local_queries / loss.temperature
            scores = product(rows, factors.T, dtype)
            negatives(part).edit(scores, loss.temperature)
            number += (scores > -torch.inf).sum()
            sums = pair_sums(positive, scores.view(-1), loss.evaluation)  # from here on, scores are derivatives
            value += sums.value
            if made:
                made[0] += sums.to_positive
                made[1][part.rows - local.start] = product(scores, factors, dtype) / loss.temperature
                add_product(made[2], scores.T, rows, dtype)
        scale = loss.scale(batch, number)
        ctx.save_for_backward(*(gradient.mul_(scale) for gradient in made))
        return (value * scale).to(positive.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        made = ctx.saved_tensors
        if float(grads[0]) != 1:  # of a loss that is not the last step
            made = [grads[0] * gradient for gradient in made]
        return *made, None, None, None


def _number_of_negatives(batch: Batch, local: Tensor) -> int:
    """Of all queries; where rules may leave some out and some queries are not local, rules are asked again."""
    if not batch.rules:
        return len(batch.queries) * len(batch.documents) - len(batch.excluded.values)
    if len(batch) < len(batch.queries):
        parts = _parts(batch, range(len(batch.queries)))
        local = torch.stack([(negatives(part).logits(1.0) > -torch.inf).sum() for part in parts]).sum()
    return int(local)


def _parts(batch: Batch, rows: range) -> Iterator[Batch]:
    """The batch, accounting for a tile of these rows at a time."""
    _ = batch.excluded  # made here, so that tiles share it
    size = batch.tile or len(batch)
    for start in range(rows.start, rows.stop, size):
        yield batch.changed(local=range(start, min(start + size, rows.stop)))
