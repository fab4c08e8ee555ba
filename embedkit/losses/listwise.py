"""A teacher's and a student's distribution over lists of documents, and how far apart they are.

Both are given as (B, L) logits, of which the distributions are the softmax; `ABSENT` marks what is not in a list.
"""

import math
from typing import Final, Literal

import torch
from torch import Tensor

from embedkit.core.errors import DataError
from embedkit.losses.batch import Batch
from embedkit.losses.ragged import Ragged

Divergence = Literal["cross_entropy", "forward_kl", "reverse_kl", "symmetric_kl", "js"]
Targets = Literal["softmax", "linear"]
Normalization = Literal["none", "min_max", "z_score"]

ABSENT: Final = -1e30  # logit of probability 0: finite, so that 0 · log 0 is 0 and has a gradient
SPREAD: Final = 1e-6  # a teacher whose scores of a list spread no wider says nothing about it


def divergence(teacher: Tensor, student: Tensor, *, of: Divergence) -> Tensor:
    """(B,) divergence of each list, with P the distribution of the teacher's logits and Q of the student's."""
    log_p, log_q = teacher.log_softmax(1), student.log_softmax(1)
    match of:
        case "cross_entropy":
            return -(teacher.softmax(1) * log_q).sum(1)
        case "forward_kl":
            return _kl(log_p, log_q)
        case "reverse_kl":
            return _kl(log_q, log_p)
        case "symmetric_kl":
            return (_kl(log_p, log_q) + _kl(log_q, log_p)) / 2
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    return (_kl(log_p, log_m) + _kl(log_q, log_m)) / 2


def _kl(log_a: Tensor, log_b: Tensor) -> Tensor:
    return (log_a.exp() * (log_a - log_b)).sum(1)


def finite(scores: Tensor) -> Tensor:
    """Teacher or gold scores, without gradient; a `DataError` if one is not a finite number."""
    if not bool(scores.isfinite().all()):
        raise DataError("batch: a target score is not a finite number; each document of a list needs one")
    return scores.detach()


@torch.no_grad()
def teacher_logits(
    scores: Tensor, present: Tensor, *, targets: Targets, temperature: float, normalization: Normalization
) -> Tensor:
    """(B, L) logits whose softmax are the targets, of (B, L) scores and where there are any; without gradient.

    The logits are score / `temperature`, or with `linear` targets the score's logarithm: softmax(log t) = t / Σ t.
    """
    scores = _normalized(finite(scores), present, normalization)
    if targets == "softmax":
        return (scores / temperature).masked_fill(~present, ABSENT)
    if bool((scores < 0).any()) or bool((scores.sum(1) <= 0).any()):
        raise DataError(
            "batch: linear targets need teacher scores of 0 or more, not all 0 in a list; "
            "use `normalization: min_max` or `targets: softmax`"
        )
    return scores.log().clamp(min=ABSENT).masked_fill(~present, ABSENT)


def _normalized(scores: Tensor, present: Tensor, how: Normalization) -> Tensor:
    """Scores on a scale of their list: all 1 where they do not differ, 0 outside the list."""
    if how == "none":
        return scores.masked_fill(~present, 0)
    low = scores.masked_fill(~present, torch.inf).amin(1, keepdim=True)
    width = scores.masked_fill(~present, -torch.inf).amax(1, keepdim=True) - low
    if how == "min_max":
        result = (scores - low) / width
    else:
        count = present.sum(1, keepdim=True)
        centred = scores - scores.masked_fill(~present, 0).sum(1, keepdim=True) / count
        result = centred / (centred.masked_fill(~present, 0).square().sum(1, keepdim=True) / count).sqrt()
    return torch.where(width > SPREAD, result, 1).masked_fill(~present, 0)


def graded(batch: Batch, *, in_batch: bool) -> tuple[Ragged, Ragged]:
    """The local queries' lists, columns and teacher scores: their own and, `in_batch`, what else the teacher scored.

    In the second case each document is there once: the score in `batch.targets` comes before those in `batch.taught`.
    """
    own, targets = batch.own.take(batch.rows), batch.own_targets.take(batch.rows)
    if not in_batch:
        return own, targets
    if batch.taught is None:
        raise DataError("batch: no teacher scores beside those of a query's own list; in_batch_targets needs them")
    first = batch.rows[0]
    local = (batch.taught.rows >= first) & (batch.taught.rows <= batch.rows[-1])
    found_rows, found_columns, place = batch.present(batch.taught.rows[local], batch.taught.doc_ids[local])
    rows = torch.cat([own.rows, found_rows - first])
    columns = torch.cat([own.values, found_columns])
    scores = torch.cat([targets.values, batch.taught.scores[local][place]])
    pairs = rows * len(batch.documents) + columns
    order = pairs.argsort(stable=True)  # by row; of equal pairs the own one first
    kept = order[pairs[order].diff(prepend=pairs.new_tensor([-1])) > 0]
    lengths = torch.bincount(rows[kept], minlength=len(batch))
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    return Ragged(offsets, columns[kept]), Ragged(offsets, scores[kept])
