"""The only module that knows there may be other processes."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """How many processes train together; 1 when there is one."""
    return dist.get_world_size() if dist.is_initialized() else 1


def gather(rows: Tensor) -> tuple[Tensor, int]:
    """The rows of every process in rank order, and where this process's begin.

    Processes may hold different numbers of rows. Gradients come back to the process that holds a row, summed over
    all who used it; integers are gathered without.
    """
    if world_size() == 1:
        return rows, 0
    sizes = [torch.empty(1, dtype=torch.int64, device=rows.device) for _ in range(world_size())]
    dist.all_gather(sizes, torch.tensor([len(rows)], device=rows.device))
    counts = [int(size) for size in sizes]
    return _Gather.apply(rows, counts), sum(counts[: dist.get_rank()])  # type: ignore[no-untyped-call]


class _Gather(torch.autograd.Function):
    """All-gather of ragged rows, padded on the way."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        total = grads[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return torch.split(total, ctx.counts)[dist.get_rank()], None
