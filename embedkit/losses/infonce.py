"""InfoNCE with in-batch and hard negatives, in up to four directions."""

from typing import Annotated, Literal, get_args

import torch
from pydantic import AfterValidator, PositiveFloat
from torch import Tensor

from embedkit.losses.base import Batch, Loss

Direction = Literal["query_to_document", "query_to_query", "document_to_query", "document_to_document"]


def _in_order(directions: tuple[Direction, ...]) -> tuple[Direction, ...]:
    if "query_to_document" not in directions:
        raise ValueError("must contain query_to_document, which holds the positive pair")
    if len(set(directions)) < len(directions):
        raise ValueError("names a direction twice")
    return tuple(d for d in get_args(Direction) if d in directions)


class InfoNCE(Loss):
    """Cross-entropy of each positive among everything that is not relevant to the query.

        L = 1/B Σ_i 1/|P_i| Σ_{p ∈ P_i} ( log Z_ip − q_i·d_p / τ ),   Z_ip = e^{q_i·d_p / τ} + Σ over `directions` of

        query_to_document     Σ_j e^{q_i·d_j / τ}   documents j not relevant to i (own negatives and in-batch)
        query_to_query        Σ_j e^{q_i·q_j / τ}   queries j ≠ i that p is not relevant to
        document_to_query     Σ_j e^{d_p·q_j / τ}   query i itself, and queries j that p is not relevant to
        document_to_document  Σ_j e^{d_p·d_j / τ}   documents j not relevant to i and not among its own negatives

    P_i are the positives of query i in the batch; other positives of i are in no denominator. One direction is
    known as multiple negatives ranking, all four as the improved contrastive loss of GTE.
    Reference: https://arxiv.org/abs/1807.03748, eq. 4; directions: https://arxiv.org/abs/2308.03281, eq. 3.
    """

    kind: Literal["infonce"] = "infonce"
    temperature: PositiveFloat = 0.05
    directions: Annotated[tuple[Direction, ...], AfterValidator(_in_order)] = ("query_to_document",)

    def compute(self, batch: Batch) -> Tensor:
        """See the class."""
        rows, columns = batch.positives.rows, batch.positives.values  # (P,): one entry a positive
        queries, positives = batch.queries[rows], batch.documents[columns]  # (P, D)
        positive = (queries * positives).sum(-1, keepdim=True)  # (P, 1)
        terms = [positive]
        documents_out, queries_out = self._masks(batch)
        if "query_to_document" in self.directions:
            terms.append((queries @ batch.documents.T).masked_fill(documents_out, -torch.inf))  # (P, M)
        if "query_to_query" in self.directions:
            terms.append((queries @ batch.all_queries.T).masked_fill(queries_out, -torch.inf))  # (P, Q)
        if "document_to_query" in self.directions:
            terms.append((positives @ batch.all_queries.T).masked_fill(queries_out, -torch.inf))
            terms.append(positive)
        if "document_to_document" in self.directions:
            apart = documents_out | _own_negatives(batch)[rows]
            terms.append((positives @ batch.documents.T).masked_fill(apart, -torch.inf))
        logits = torch.cat(terms, dim=1) / self.temperature
        losses = logits.logsumexp(1) - logits[:, 0]  # (P,)
        return (losses / batch.positives.lengths[rows]).sum() / len(batch.queries)

    def _masks(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(P, M) documents relevant to the query, and (P, Q) queries that are the query or want its positive too."""
        rows, columns = batch.positives.rows + batch.offset, batch.positives.values
        every_document = torch.arange(len(batch.documents), device=rows.device)
        every_query = torch.arange(len(batch.all_queries), device=rows.device)
        wanted = batch.excluded(every_query, columns).T
        same = batch.query_ids[rows][:, None] == batch.query_ids
        return batch.excluded(rows, every_document), wanted | same


def _own_negatives(batch: Batch) -> Tensor:
    """(B, M) bool: the document is one of the query's own negatives."""
    mask = batch.queries.new_zeros(len(batch.queries), len(batch.documents), dtype=torch.bool)
    mask[batch.negatives.rows, batch.negatives.values] = True
    return mask
