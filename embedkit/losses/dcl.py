"""Decoupled contrastive learning, plain (DCL) and weighted (DCLW)."""

from typing import ClassVar, Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor

from embedkit.losses.base import Loss
from embedkit.losses.batch import Batch
from embedkit.losses.blocks import Direction, Directions, negatives


class DCL(Loss):
    """InfoNCE without the positive in the denominator: an easy pair is pulled as much as a hard one.

        L = 1/B Σ_i 1/|P_i| Σ_{p ∈ P_i} ( log Σ_n e^{x_n} − q_i·d_p / τ )

    x_n are the logits, score / τ, of the negatives in `directions`, as in `infonce`; τ is `temperature`. The paper has
    the negatives of both views, `[query_to_document, query_to_query]`. Not bounded below. Where a query has no
    negative, its part is 0. `decoupled_softmax` is another loss: there the positive stays in the denominator and the
    other positives leave it.
    Reference: https://arxiv.org/abs/2110.06848, L_DC.
    """

    kind: Literal["dcl"] = "dcl"
    tiled: ClassVar[bool] = True
    contrasts: ClassVar[bool] = True
    temperature: PositiveFloat = 0.1
    directions: Directions = ("query_to_document",)

    def compute(self, batch: Batch) -> Tensor:
        """See the class."""
        return _decoupled(batch, self.directions, self.temperature)


class DCLW(Loss):
    """DCL with more pull on the positives that score low in the batch.

        L = 1/B Σ_i 1/|P_i| Σ_{p ∈ P_i} ( log Σ_n e^{x_n} − w_ip q_i·d_p / τ )
        w_ip = 2 − e^{q_i·d_p / σ} / mean e^{q_j·d_p' / σ}

    The mean is over all queries j of the batch and their positives p', taken as in L: over each query's, then over
    queries. So w has mean 1; it is below 0 where a positive is far above the rest. The gradient goes through w too, as
    in the public code, unless `weight_detach`. σ is `sigma`; `temperature` and `directions` are those of `dcl`.
    Reference: https://arxiv.org/abs/2110.06848, L_DCW; for several positives [R].
    """

    kind: Literal["dclw"] = "dclw"
    tiled: ClassVar[bool] = True
    contrasts: ClassVar[bool] = True
    temperature: PositiveFloat = 0.1
    directions: Directions = ("query_to_document",)
    sigma: PositiveFloat = 0.5
    weight_detach: bool = False  # True: no gradient through the weights

    def compute(self, batch: Batch) -> Tensor:
        """See the class."""
        weights = _weights(batch, self.sigma)
        if self.weight_detach:
            weights = weights.detach()
        return _decoupled(batch, self.directions, self.temperature, weights)


def _decoupled(
    batch: Batch, directions: tuple[Direction, ...], temperature: float, weights: Tensor | float = 1.0
) -> Tensor:
    """The mean loss, with (P,) weights of the positives."""
    local = batch.entries[0] - batch.rows[0]
    sums = [(d, negatives(batch, d).log_sum_exp(temperature)) for d in directions]
    terms = torch.stack([each[local] if d == "query_to_document" else each for d, each in sums])  # (directions, P)
    alone = (terms == -torch.inf).all(0)  # no negatives: log 0
    against = terms.masked_fill(alone, 0).logsumexp(0)
    return batch.mean_over_queries((against - weights * batch.positive_scores() / temperature).masked_fill(alone, 0))


def _weights(batch: Batch, sigma: float) -> Tensor:
    """(P,) weights of the local queries' positives, from the scores of all queries' positives."""
    whole = batch.changed(local=range(len(batch.queries)))
    shares = whole.positives.lengths[whole.entries[0]] * len(whole)
    scores = whole.positive_scores() / sigma
    log_mean = (scores - shares.to(scores.dtype).log()).logsumexp(0)
    return 2 - (batch.positive_scores() / sigma - log_mean).exp()
