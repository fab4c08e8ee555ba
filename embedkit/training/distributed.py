"""What processes that train together say to each other. Nothing else imports torch.distributed but the launcher.

There is a group of processes only while a stage trains (`group`): where one process mines for hours, the others wait
outside of any collective, which would time out, and libraries that look for a group find none and work alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from itertools import accumulate
from typing import Any, Final, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from embedkit.core.errors import DataError, EmbedkitError

T = TypeVar("T")
Board = Store
PATIENCE: Final = timedelta(hours=2)  # in an exchange; that a process is gone is told sooner, see `embedkit.processes`
_SCATTERS: Final = ("nccl", "xccl", "hccl")  # backends that reduce and scatter in one exchange; gloo emulates it


class Gathered(NamedTuple):
    """The rows of every process, in rank order."""

    rows: Tensor
    counts: tuple[int, ...]  # how many each process holds

    @property
    def local(self) -> range:
        """Which of the rows are this process's."""
        start = self._starts[rank()]
        return range(start, start + self.counts[rank()])

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


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    """Whether this is the one that writes."""
    return rank() == 0


def from_main(find: Callable[[], T]) -> T:
    """What the main process finds, in every process; only there is `find` called. All must come here together."""
    if world_size() == 1:
        return find()
    found = [find() if is_main() else None]
    dist.broadcast_object_list(found, src=0)
    return found[0]  # type: ignore[return-value]


def most(number: int) -> int:
    """The largest of the processes' numbers. All must come here together."""
    if world_size() == 1:
        return number
    numbers: list[Any] = [None] * world_size()
    dist.all_gather_object(numbers, number)
    return int(max(numbers))


def rows_of_all(rows: Tensor) -> list[Tensor]:
    """The rows of each process, without gradients. All must come here together."""
    found = gather({"rows": rows.detach()})["rows"]
    return list(torch.split(found.rows, list(found.counts)))


def meet() -> None:
    """Come back when every process has come here."""
    if world_size() > 1:
        dist.barrier()


def use_own_gpu(number: int) -> None:
    """Of this node's GPUs, let this process use the one of that number."""
    found = torch.cuda.device_count()
    if not found:
        return
    if number >= found:
        raise EmbedkitError(f"process {number} of this node has no GPU of its own: {found} found; start one for each")
    torch.cuda.set_device(number)


def board(name: str, *, rank: int, size: int) -> Store:
    """Where the processes of a launch leave messages for each other, as `RANK` and the like in the environment say; on
    that of another name they are others."""
    return PrefixStore(name, _store(rank, size))


@cache
def _store(rank: int, size: int) -> Store:
    found: Store = next(iter(rendezvous("env://", rank, size, timeout=timedelta(minutes=5))))[0]
    found.set_timeout(timedelta(minutes=1))
    return found


@contextmanager
def group(board: Board, name: str, *, rank: int, size: int) -> Iterator[None]:
    """The processes of a launch train together, at an occasion of that name.

    After an error the group is left open: closing it would tell the others that a process has gone before that one
    could say why.
    """
    gpu = torch.cuda.is_available()
    dist.init_process_group(
        "cuda:nccl,cpu:gloo" if gpu else "gloo",
        store=PrefixStore(name, board),
        rank=rank,
        world_size=size,
        timeout=PATIENCE,
        device_id=torch.device("cuda", torch.cuda.current_device()) if gpu else None,
    )
    yield
    meet()
    dist.destroy_process_group()


def computing(model: nn.Module) -> nn.Module:
    """What computes in a model that may be wrapped for several processes, where a step has many forward passes.

    DDP's wrapper takes each for the only one; here `expect_gradients` says when they are done. FSDP has no wrapper.
    """
    return model.module if isinstance(model, DistributedDataParallel) else model


def passes_short(model: nn.Module, passes: int) -> int:
    """How many forward passes this process lacks to have as many as the others, which a model in shards needs: the
    processes gather its weights together."""
    return most(passes) - passes if in_shards(model) else 0


def in_shards(model: nn.Module) -> bool:
    """Whether every process has a shard of the model's weights alone."""
    from torch.distributed.fsdp import FSDPModule  # takes a second, and a plan asks for none of it

    return isinstance(model, FSDPModule)


def whole(tensor: Tensor | None) -> Tensor | None:
    """A tensor that may be in shards, in every process. All must come here together."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def expect_gradients(model: nn.Module, outputs: Sequence[Tensor]) -> None:
    """After the last forward pass of a step: gradients of `outputs`, all there are, come next, and are averaged once.

    It is what DDP's own forward does at its end. Passes that are run again in the backward pass do not come here.
    """
    wanted = [output for output in outputs if output.requires_grad]
    if isinstance(model, DistributedDataParallel) and wanted:
        model.reducer.prepare_for_backward(wanted if model.find_unused_parameters else [])


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
        mine += [_sum_of_own(grad, count) for grad, count in zip(grads, ctx.counts, strict=True)]
        return tuple(mine)


def _sum_of_own(grad: Tensor, counts: tuple[int, ...]) -> Tensor:
    """What all processes have for this one's rows, summed: a process needs no other rows' sums."""
    if not any(f"{grad.device.type}:{name}" in dist.get_backend_config() for name in _SCATTERS):
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return torch.split(total, list(counts))[rank()]
    padded = grad.new_zeros(len(counts), max(counts), *grad.shape[1:])
    for row, part in zip(padded, torch.split(grad, list(counts)), strict=True):
        row[: len(part)] = part
    total = torch.empty_like(padded[0])
    exchange = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor  # its name before torch 2.13
    exchange(total, padded.flatten(0, 1))
    return total[: counts[rank()]]
