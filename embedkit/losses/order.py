"""Losses on the order that gold or teacher scores give to pairs: correlation, ranks, pairwise ranking optimisation."""

import abc
from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from embedkit.losses.base import Loss, Need
from embedkit.losses.batch import Batch
from embedkit.losses.listwise import SPREAD, finite
from embedkit.losses.ragged import Ragged

# Comparisons of two pairs that are held at once; more are made in blocks, and made again in the backward pass.
LIMIT = 2**22


class OrderLoss(Loss, abc.ABC):
    """A loss of lists of (student score, target score) pairs: all pairs of the batch as one, or one list a query."""

    scope: Literal["batch", "list"] = "batch"  # batch: one list of every process's pairs, whatever `local` is

    @property
    def needs(self) -> frozenset[Need]:
        """See `Loss`."""
        return frozenset({"targets"} if self.scope == "batch" else {"targets", "negatives"})

    def compute(self, batch: Batch) -> Tensor:
        """See the class."""
        if self.scope == "batch":
            batch = batch.changed(local=range(len(batch.queries)))
        own, targets = batch.own.take(batch.rows), finite(batch.own_targets.take(batch.rows).values)
        scores = (batch.local_queries[own.rows] * batch.pick(own.values)).sum(-1)  # (n,)
        offsets = own.offsets[[0, -1]] if self.scope == "batch" else own.offsets
        student, present = Ragged(offsets, scores).padded()
        target, _ = Ragged(offsets, targets.to(scores.dtype)).padded()
        return self.of_lists(student, target, present).mean()

    @abc.abstractmethod
    def of_lists(self, scores: Tensor, targets: Tensor, present: Tensor) -> Tensor:
        """(R,) losses of R lists, padded to (R, L) where not `present`."""


class Pearson(OrderLoss):
    """One minus Pearson's correlation of student scores with gold or teacher scores.

        L = 1 − Σ_i (s_i − s̄)(y_i − ȳ) / √( Σ_i (s_i − s̄)² · Σ_i (y_i − ȳ)² )

    s_i = q·d is the student's score of pair i and y_i its target. The pairs are all of the batch, each query's
    positives and own negatives (`scope: batch`, whose gradient is best with large batches), or those of one query,
    averaged over queries (`list`). Where all y_i are equal L = 0; where all s_i are (to rounding), the correlation
    counts as 0, so L = 1; both without gradient.
    Reference: https://arxiv.org/abs/2508.11442 (CoDiEmb); the value for equal s_i is [R].
    """

    kind: Literal["pearson"] = "pearson"

    def of_lists(self, scores: Tensor, targets: Tensor, present: Tensor) -> Tensor:
        """See `OrderLoss`."""
        student, _ = _standardised(scores, present)
        target, constant = _standardised(targets, present)
        return (1 - (student * target).sum(1)).masked_fill(constant, 0)


class RankKL(OrderLoss):
    """Divergence of the softmax over student scores from one over the ranks of gold or teacher scores.

        L = Σ_i T_i ( log T_i − log softmax_i(s / τ) ),   T = softmax(a / τ),   a_i = (n − 1 − rank_i) / (n − 1)

    s_i = q·d is the student's score of the i-th of n pairs; rank_i counts from 0 in descending order of the targets,
    equal ones sharing the mean of their ranks; so a_i runs from 1 to 0. τ is `temperature`. The pairs are all of the
    batch, each query's positives and own negatives (`scope: batch`), or those of one query, averaged over queries
    (`list`). A single pair has L = 0. `reduction: mean` divides by n, as the authors' code does.
    Reference: https://arxiv.org/abs/2508.11442 (CoDiEmb).
    """

    kind: Literal["rank_kl"] = "rank_kl"
    temperature: PositiveFloat = 0.05
    reduction: Literal["sum", "mean"] = "sum"

    def of_lists(self, scores: Tensor, targets: Tensor, present: Tensor) -> Tensor:
        """See `OrderLoss`."""
        logits = torch.stack([_ideal(targets, present), scores]) / self.temperature
        teacher, student = logits.masked_fill(~present, -torch.inf).log_softmax(2).masked_fill(~present, 0)
        losses: Tensor = (teacher.exp() * (teacher - student)).sum(1)  # the padding adds 0
        return losses / present.sum(1) if self.reduction == "mean" else losses


class PRO(OrderLoss):
    """Softmax of each pair against those of lower target, logits weighted by the gap between the targets.

        L = mean over k of log( e^{v_k s_k / τ} + Σ_{j: y_j < y_k} e^{w_kj s_j / τ} ) − v_k s_k / τ,   w_kj = y_k − y_j

    s_k = q·d is the student's score of pair k, y_k its target, v_k = max_j w_kj, τ is `temperature`; k runs over the
    pairs that have a lower one. The pairs are all of the batch, each query's positives and own negatives (`scope:
    batch`), or those of one query, averaged over queries (`list`); a list of equal targets has L = 0. Gaps multiply the
    logits, so the scale of y acts as an inverse temperature: `normalize` brings the targets of each list to [0, 1]
    first, to 0 if they spread no wider than 1e-6.
    Reference: https://arxiv.org/abs/2508.11442 (CoDiEmb); `normalize` is [R].
    """

    kind: Literal["pro"] = "pro"
    temperature: PositiveFloat = 0.05
    normalize: bool = True

    def of_lists(self, scores: Tensor, targets: Tensor, present: Tensor) -> Tensor:
        """See `OrderLoss`."""
        highest = targets.masked_fill(~present, -torch.inf).amax(1, keepdim=True)
        lowest = targets.masked_fill(~present, torch.inf).amin(1, keepdim=True)
        if self.normalize:
            width = highest - lowest
            equal = width <= SPREAD
            targets, lowest = ((targets - lowest) / width.masked_fill(equal, 1)).masked_fill(equal, 0), 0 * lowest
        targets = targets.masked_fill(~present, torch.nan)  # neither above nor below any other
        best = (targets - lowest).masked_fill(~present, 0)  # (R, L): v
        blocks = list(_blocks(*targets.shape))
        parts = []
        for lists, pairs in blocks:
            part = (scores[lists] / self.temperature, targets[lists], best[lists], pairs)
            if len(blocks) == 1:
                parts.append(_against_lower(*part))
            else:
                parts.append(checkpoint(_against_lower, *part, use_reentrant=False, preserve_rng_state=False))
        losses = torch.cat([part.flatten() for part in parts]).view_as(scores)
        return losses.sum(1) / (best > 0).sum(1).clamp(min=1)


def _standardised(values: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """(R, L) deviations from the mean of each list, as a unit vector; and (R,) where they are 0, all values equal."""
    values = values.masked_fill(~present, 0)
    count = present.sum(1, keepdim=True)
    deviations = (values - values.sum(1, keepdim=True) / count).masked_fill(~present, 0)
    squares = deviations.square().sum(1, keepdim=True)
    rounding = 8 * torch.finfo(values.dtype).eps * values.detach().abs().amax(1, keepdim=True)
    constant = squares <= count * rounding.square()
    unit = deviations / squares.masked_fill(constant, 1).sqrt()
    return unit.masked_fill(constant, 0), constant[:, 0]


def _ideal(targets: Tensor, present: Tensor) -> Tensor:
    """(R, L) ranks from 0 (lowest target) to 1, equal targets sharing the mean of theirs."""
    order = targets.masked_fill(~present, torch.inf).sort(1).values
    lower, up_to = (torch.searchsorted(order, targets.contiguous(), right=right) for right in (False, True))
    last = present.sum(1, keepdim=True) - 1
    return (lower + up_to - 1).to(targets.dtype) / (2 * last.clamp(min=1))


def _blocks(rows: int, length: int) -> Iterator[tuple[slice, slice]]:
    """Slices of lists, and of the pairs in them, whose comparisons with their whole list number at most `LIMIT`."""
    lists = max(1, LIMIT // max(1, length * length))
    pairs = length if length * length <= LIMIT else max(1, LIMIT // length)
    for first in range(0, rows, lists):
        for start in range(0, length, pairs):
            yield slice(first, first + lists), slice(start, start + pairs)


def _against_lower(logits: Tensor, targets: Tensor, best: Tensor, pairs: slice) -> Tensor:
    """(R, P) cross-entropy of each of `pairs` against those of lower target in its list, 0 where there are none."""
    gaps = targets[:, pairs, None] - targets[:, None, :]  # (R, P, L)
    lower = gaps > 0
    numbers = torch.arange(logits.shape[1], device=logits.device)
    itself = numbers[pairs, None] == numbers  # (P, L)
    weights = torch.where(itself, best[:, pairs, None], gaps.masked_fill(~lower, 0))
    weighted = (weights * logits[:, None, :]).masked_fill(~(lower | itself), -torch.inf)
    return weighted.logsumexp(2) - (best * logits)[:, pairs]
