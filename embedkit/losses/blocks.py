"""Scores of negatives: the one place where documents are left out, re-weighted and summed over."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from embedkit.losses.batch import Batch
from embedkit.losses.kernels import add_product, exponentials, product

Direction = Literal["query_to_document", "query_to_query", "document_to_query", "document_to_document"]
Side = Literal["queries", "documents"]


def _in_order(directions: tuple[Direction, ...]) -> tuple[Direction, ...]:
    if len(set(directions)) < len(directions):
        raise ValueError("names a direction twice")
    return tuple(d for d in get_args(Direction) if d in directions)


Directions = Annotated[tuple[Direction, ...], Field(min_length=1), AfterValidator(_in_order)]


@dataclass(frozen=True)
class Block:
    """R anchors of the local queries against all C documents, or all C queries, of a batch."""

    batch: Batch
    direction: Direction
    rows: Tensor  # (R,): row of `batch.queries` that each anchor belongs to
    anchors: Tensor  # (R,): its row in `batch.queries` or `batch.documents`, see `anchor_side`
    out: tuple[Tensor, Tensor]  # row (0 to R) and column of every score that is no negative's

    @property
    def anchor_side(self) -> Side:
        """What the anchors are."""
        return "queries" if self.direction.startswith("query") else "documents"

    @property
    def column_side(self) -> Side:
        """What they are compared with."""
        return "queries" if self.direction.endswith("query") else "documents"

    @property
    def anchor_embeddings(self) -> Tensor:
        """(R, D)"""
        if self.anchor_side == "documents":
            return self.batch.pick(self.anchors)
        if self.direction == "query_to_document":
            return self.batch.local_queries
        return self.batch.local_queries[self.anchors - self.batch.rows[0]]

    @property
    def column_embeddings(self) -> Tensor:
        """(C, D)"""
        return self.batch.queries if self.column_side == "queries" else self.batch.documents

    def logits(self, temperature: float) -> Tensor:
        """(R, C) score / temperature plus the rules' log weights; −inf where a document is no negative."""
        scores = self.anchor_embeddings @ self.column_embeddings.T
        logits = scores / temperature
        for rule in self.batch.rules:
            logits = logits + rule(self, scores.detach())
        return logits.index_put(self.out, logits.new_tensor(-torch.inf))

    def log_sum_exp(self, temperature: float) -> Tensor:
        """(R,) log Σ_j e^{logit_j} over the columns, −inf where there are none; holds one (R, C) matrix."""
        sink = self.batch.sink if self.column_side == "documents" else None
        result: Tensor = _LogSumExp.apply(  # type: ignore[no-untyped-call]
            self.anchor_embeddings, self.column_embeddings, temperature, self, sink
        )
        return result

    @property
    def factors(self) -> Tensor:
        """(C, D) column embeddings as they are multiplied, rounded where `batch.products` says so. No gradient."""
        if self.column_side == "documents":
            return self.batch.document_factors
        return self.batch.queries.detach().to(self.batch.product_type)

    def edit(self, logits: Tensor, temperature: float) -> None:
        """Bring plain scores / temperature to what `logits` returns, in place."""
        if self.batch.rules:
            scores = logits * temperature
            for rule in self.batch.rules:
                logits += rule(self, scores)
        logits.index_put_(self.out, logits.new_tensor(-torch.inf))


def negatives(batch: Batch, direction: Direction = "query_to_document") -> Block:
    """Who is a negative of whom.

    query_to_document     a local query (R = B)    documents that it does not exclude
    query_to_query        a local query, for one of its positives (R = P: `batch.entries`)
                                                   queries of another text that do not exclude that positive
    document_to_query     one of its positives     the same queries
    document_to_document  one of its positives     documents that the query does not exclude, without its own negatives
    """
    if direction == "query_to_document":
        out = batch.excluded.take(batch.rows)
        return Block(batch, direction, batch.rows, batch.rows, (out.rows, out.values))
    rows, columns = batch.entries
    if direction == "document_to_document":
        lists = (batch.excluded.take(rows), batch.negatives.take(rows))
    else:
        lists = (batch.excluded_by.take(columns), batch.same_query.take(rows))
    out_rows, out_columns = (torch.cat([getattr(part, name) for part in lists]) for name in ("rows", "values"))
    anchors = rows if direction == "query_to_query" else columns
    return Block(batch, direction, rows, anchors, (out_rows, out_columns))


class _LogSumExp(torch.autograd.Function):
    """log Σ_j e^{a·c_j / τ + rules}, keeping one (R, C) matrix for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, anchors: Tensor, columns: Tensor, temperature: float, block: Block, sink: Tensor | None
    ) -> Tensor:
        dtype, factors = block.batch.product_type, block.factors
        logits = product(anchors / temperature, factors.T, dtype)
        block.edit(logits, temperature)
        sums, weights, total = exponentials(logits, dtype)
        ctx.save_for_backward(anchors, factors, weights, total)
        ctx.temperature, ctx.sink, ctx.dtype = temperature, sink, dtype
        return sums

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        anchors, factors, weights, total = ctx.saved_tensors
        share = torch.where(total > 0, grads[0] / (total * ctx.temperature), 0)[:, None]
        to_anchors = product(weights, factors, ctx.dtype).mul_(share) if ctx.needs_input_grad[0] else None
        to_columns = None
        if ctx.sink is not None:
            add_product(ctx.sink, weights.T, anchors * share, ctx.dtype)
        elif ctx.needs_input_grad[1]:
            to_columns = product(weights.T, anchors * share, ctx.dtype)
        return to_anchors, to_columns, None, None, None
