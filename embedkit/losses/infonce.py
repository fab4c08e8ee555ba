"""InfoNCE with in-batch and hard negatives, in up to four directions."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import AfterValidator, NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.nn.functional import logsigmoid

from embedkit.losses.base import Loss, Need
from embedkit.losses.batch import Batch
from embedkit.losses.blocks import Direction, Directions, negatives
from embedkit.losses.ragged import Ragged
from embedkit.losses.rules import Hardness, HardnessOf, SameClass


def _has_the_pair(directions: tuple[Direction, ...]) -> tuple[Direction, ...]:
    if "query_to_document" not in directions:
        raise ValueError("must contain query_to_document, which holds the positive pair")
    return directions


class InfoNCE(Loss):
    """Cross-entropy of each positive among everything that is not relevant to the query.

        L = 1/B Σ_i 1/|P_i| Σ_{p ∈ P_i} w_ip ( log Z_ip − q_i·d_p / τ )
        Z_ip = e^{q_i·d_p / τ} + Σ over the negatives of each direction in `directions`

        query_to_document     Σ_j h_ij e^{q_i·d_j / τ}   documents j not relevant to i (own negatives and in-batch)
        query_to_query        Σ_j e^{q_i·q_j / τ}        queries j ≠ i that p is not relevant to
        document_to_query     Σ_j e^{d_p·q_j / τ}        query i itself, and queries j that p is not relevant to
        document_to_document  Σ_j e^{d_p·d_j / τ}        documents j not relevant to i and not among its own negatives

    P_i are the positives of query i in the batch, τ is `temperature`. The other positives of i are in no denominator,
    or with `other_positives: negatives` in that of query_to_document: the multi-label softmax, where positives push
    each other away. Suspects of i are in none. Further weights, all 1 by default:

        w_ip = (1 − e^{q_i·d_p / τ} / Z_ip)^γ    `focal` γ; no gradient with `focal_detach`
        h_ij = e^{α q_i·d_j}                     `hardness` α of the negatives `hardness_of`; no gradient

    `mask_classes` leaves out texts of the query's class. One direction is known as multiple negatives ranking, all
    four as the improved contrastive loss of GTE.
    Reference: https://arxiv.org/abs/1807.03748, eq. 4; directions: https://arxiv.org/abs/2308.03281, eq. 3; focal:
    https://arxiv.org/abs/2506.20923; hardness: https://arxiv.org/abs/2503.04812, eq. 5; classes:
    https://arxiv.org/abs/2508.21632.
    """

    kind: Literal["infonce"] = "infonce"
    tiled: ClassVar[bool] = True
    contrasts: ClassVar[bool] = True
    temperature: PositiveFloat = 0.05
    directions: Annotated[Directions, AfterValidator(_has_the_pair)] = ("query_to_document",)
    other_positives: Literal["left_out", "negatives"] = "left_out"
    focal: NonNegativeFloat = 0.0
    focal_detach: bool = False  # True: no gradient through the focal weight
    hardness: NonNegativeFloat = 0.0
    hardness_of: HardnessOf = "all"
    mask_classes: bool = False

    @property
    def needs(self) -> frozenset[Need]:
        """See `Loss`."""
        return frozenset({"classes"} if self.mask_classes else ())

    def compute(self, batch: Batch) -> Tensor:
        """See the class."""
        batch = self._ruled(batch)
        rows, _ = batch.entries
        local = rows - batch.rows[0]
        positive = batch.positive_scores() / self.temperature  # (P,)
        others = []  # log-sum-exps of what the positive is compared with
        for direction in self.directions:
            sums = negatives(batch, direction).log_sum_exp(self.temperature)
            others.append(sums[local] if direction == "query_to_document" else sums)
        if "document_to_query" in self.directions:
            others.append(positive)
        if self.other_positives == "negatives":
            others.append(_of_others(positive, batch.positives.take(batch.rows)))
        # log(1 + e^{others − positive}), exact also where it is far smaller than the logits
        losses = -logsigmoid(positive - _log_sum(others))
        return batch.mean_over_queries(self._focused(losses))

    def _ruled(self, batch: Batch) -> Batch:
        rules = batch.rules
        if self.hardness:
            rules = (*rules, Hardness(self.hardness, self.hardness_of))
        if self.mask_classes:
            rules = (*rules, SameClass())
        return batch.changed(rules=rules)

    def _focused(self, losses: Tensor) -> Tensor:
        if not self.focal:
            return losses
        missing = -torch.expm1(-losses)  # 1 − p
        missing = missing.clamp(min=torch.finfo(missing.dtype).tiny)  # where p = 1, so that γ < 1 has a gradient
        weight = missing**self.focal
        return (weight.detach() if self.focal_detach else weight) * losses


def _log_sum(terms: Sequence[Tensor]) -> Tensor:
    """log Σ e^term of equal shapes; −inf, and no gradient, where every term is −inf."""
    stacked = torch.stack(list(terms))
    none = stacked.isneginf().all(0)
    return stacked.masked_fill(none, 0).logsumexp(0).masked_fill(none, -torch.inf)


def _of_others(positive: Tensor, positives: Ragged) -> Tensor:
    """(P,) logits of positives -> log Σ e^logit over the other positives of the same query, −inf where none is."""
    logits, present = Ragged(positives.offsets, positive).padded()
    rows = positives.rows
    place = torch.arange(len(rows), device=rows.device) - positives.offsets[rows]
    itself = torch.arange(logits.shape[1], device=rows.device) == place[:, None]
    return _log_sum(logits[rows].masked_fill(itself | ~present[rows], -torch.inf).unbind(1))
