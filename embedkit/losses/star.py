"""The loss of STAR: every positive above random and hard negatives, pair by pair."""

from typing import ClassVar, Literal

from pydantic import PositiveFloat
from torch import Tensor
from torch.nn.functional import logsigmoid

from embedkit.losses.base import Loss
from embedkit.losses.batch import Batch
from embedkit.losses.blocks import negatives


class STAR(Loss):
    """Each positive above each negative of its query, hard and random ones alike, pair by pair.

        L = 1/|N| Σ_i 1/|P_i| Σ_{p ∈ P_i} Σ_{n ∈ N_i} log(1 + h_in e^{(q_i·d_n − q_i·d_p) / τ})

    P_i are the positives of query i; its negatives N_i are the static hard negatives and, as a random sample of the
    corpus that keeps training stable, the documents of the other queries, without what is or may be relevant to it.
    |N| counts the negatives of all queries, so that a hard one weighs as much as a random one. Rules give weights h, 1
    without them. τ is `temperature`; the paper has dot products and τ = 1, which for cosines is too flat. Unlike
    `infonce`, the weight of a pair does not depend on the query's other negatives; unlike `mann_whitney`, scores of
    different queries are not compared. A document that is a positive of one query and a hard negative of another is
    counted once.
    Reference: https://arxiv.org/abs/2104.08051 (STAR); the average over both sorts of pairs is from the authors' code.
    """

    kind: Literal["star"] = "star"
    tiled: ClassVar[bool] = True
    contrasts: ClassVar[bool] = True
    temperature: PositiveFloat = 0.05

    def compute(self, batch: Batch) -> Tensor:
        """See the class."""
        rows = batch.entries[0] - batch.rows[0]
        logits = negatives(batch).logits(self.temperature)  # (B, M)
        against = logits if len(rows) == len(logits) else logits[rows]  # (P, M)
        losses = -logsigmoid(batch.positive_scores()[:, None] / self.temperature - against)
        count = len(batch.queries) * len(batch.documents) - len(batch.excluded.values)
        return batch.mean_over_queries(losses.sum(1)) * (len(batch.queries) / max(count, 1))
