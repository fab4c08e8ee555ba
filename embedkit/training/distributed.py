"""The only module that knows there may be other processes."""

from collections.abc import Mapping
from itertools import accumulate
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from embedkit.core.errors import DataError


class Gathered(NamedTuple):
    """The rows of every process, in rank order."""

    rows: Tensor
    counts: tuple[int, ...]  # how many each process holds

    @property
    def local(self) -> range:
        """Which of the rows are this process's."""
        start = self._starts[_rank()]
        return range(start, start + self.counts[_rank()])

    def starts_for(self, other: "Gathered") -> Tensor:
        """For each row of `other`: where the rows here begin that its process holds."""
        device = self.rows.device
        starts = torch.tensor(self._starts, device=device)
        return starts.repeat_interleave(torch.tensor(other.counts, device=device), output_size=sum(other.counts))

    @property
    def _starts(self) -> list[int]:
        return list(accumulate(self.counts, initial=0))[:-1]


def world_size() -> int:
    """How many processes train together; 1 when there is one."""
    return dist.get_world_size() if dist.is_initialized() else 1


def gather(parts: Mapping[str, Tensor | None]) -> dict[str, Gathered]:
    """The rows of every process, of each part that is there; a `DataError` where only some processes have a part.

    Processes may hold different numbers of rows. Where a tensor requires gradients, those come back to the process
    that holds the row, summed over all who used it. Every process must name the parts in one order.
    """
    present = {name: part for name, part in parts.items() if part is not None}
    if world_size() == 1:
        return {name: Gathered(part, (len(part),)) for name, part in present.items()}
    counts = _counts(parts, next(iter(present.values())).device)
    learned = [name for name, part in present.items() if part.requires_grad]
    rows = {name: _all_rows(part, counts[name]) for name, part in present.items() if name not in learned}
    if learned:
        several = _Gather.apply([counts[name] for name in learned], *map(present.__getitem__, learned))  # type: ignore[no-untyped-call]
        rows |= dict(zip(learned, several, strict=True))
    return {name: Gathered(rows[name], counts[name]) for name in present}


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _counts(parts: Mapping[str, Tensor | None], device: torch.device) -> dict[str, tuple[int, ...]]:
    """How many rows of each part every process holds."""
    mine = torch.tensor([-1 if part is None else len(part) for part in parts.values()], device=device)
    every = [torch.empty_like(mine) for _ in range(world_size())]
    dist.all_gather(every, mine)
    counts = dict(zip(parts, zip(*(sizes.tolist() for sizes in every), strict=True), strict=True))
    for name, count in counts.items():
        if min(count) < 0 <= max(count):
            raise DataError(f"batch: process {count.index(-1)} has no {name}, but others do; all need the same parts")
    return counts


def _all_rows(rows: Tensor, counts: tuple[int, ...]) -> Tensor:
    """All-gather of ragged rows, padded on the way."""
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded[: len(rows)] = rows
    every = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(every, padded)
    return torch.cat([part[:count] for part, count in zip(every, counts, strict=True)])


class _Gather(torch.autograd.Function):
    """`_all_rows` of several tensors.

    They are one node of the graph, so that gradients are exchanged in the same order in all processes, and also when
    a process has used only some of the tensors.
    """

    @staticmethod
    def forward(ctx: Any, counts: list[tuple[int, ...]], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.counts = counts
        return tuple(map(_all_rows, tensors, counts))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        mine: list[Tensor | None] = [None]
        for grad, count in zip(grads, ctx.counts, strict=True):
            total = grad.clone(memory_format=torch.contiguous_format)
            dist.all_reduce(total)
            mine.append(torch.split(total, count)[dist.get_rank()])
        return tuple(mine)
