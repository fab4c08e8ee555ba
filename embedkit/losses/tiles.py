"""A loss in tiles of queries: the same value and gradients, and the scores of one tile in memory."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from embedkit.losses.batch import Batch
from embedkit.losses.parts import Tiling

Compute = Callable[[Batch], Tensor]


def in_tiles(compute: Compute, batch: Batch) -> Tensor:
    """`compute(batch)` as the mean of what it gives for `batch.tile` queries at a time.

    Each tile's gradients are taken as soon as its value is known and added up, so nothing is computed twice: memory
    beyond one tile is that of the gradients, one number per input number. Differentiable once.
    """
    if not (batch.queries.requires_grad or batch.documents.requires_grad) or not torch.is_grad_enabled():
        return torch.stack([compute(tile) * share for tile, share in _tiles(_structured(batch))]).sum()
    value: Tensor = _Tiles.apply(compute, batch, batch.queries, batch.documents)  # type: ignore[no-untyped-call]
    return value


def _tiles(batch: Batch) -> list[tuple[Batch, float]]:
    """The batch in tiles of queries, and the share of the queries in each."""
    rows = batch.local or range(0)
    size = batch.tile or len(rows)
    parts = [range(start, min(start + size, rows.stop)) for start in range(rows.start, rows.stop, size)]
    return [(batch.changed(local=part, tile=None), len(part) / len(rows)) for part in parts]


class _Tiles(torch.autograd.Function):
    """The sum over tiles, with its gradient made in the forward pass."""

    @staticmethod
    def forward(ctx: Any, compute: Compute, batch: Batch, queries: Tensor, documents: Tensor) -> Tensor:
        every, columns = queries.detach().requires_grad_(), documents.detach().requires_grad_()
        to_queries, to_documents = torch.zeros_like(queries), torch.zeros_like(documents)
        total = queries.new_zeros(())
        whole = _structured(batch.changed(queries=every, documents=columns))
        for tile, share in _tiles(whole):
            part = tile.local or range(0)
            rows = queries.detach()[part.start : part.stop].requires_grad_()
            with torch.enable_grad():
                value = compute(tile.changed(tiling=Tiling(every, columns, part, rows, to_documents))) * share
            total += value.detach()
            if not value.requires_grad:
                continue
            grads = torch.autograd.grad(value, (every, columns, rows), allow_unused=True)
            for sink, grad in zip((to_queries, to_documents, to_queries[part.start : part.stop]), grads, strict=True):
                if grad is not None:
                    sink += grad
        ctx.save_for_backward(to_queries, to_documents)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, Tensor, Tensor]:
        to_queries, to_documents = ctx.saved_tensors
        if float(grads[0]) != 1:  # of a loss that is not the last step: two more tensors of that size
            to_queries, to_documents = grads[0] * to_queries, grads[0] * to_documents
        return None, None, to_queries, to_documents


def _structured(batch: Batch) -> Batch:
    """The batch with its lists made, so that tiles share them."""
    _ = batch.own, batch.excluded, batch.excluded_by, batch.same_query, batch.document_factors
    return batch
