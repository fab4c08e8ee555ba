"""What two processes exchange besides batches, and gradients as the trainer's wrapper has them. See `ranks`."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from embedkit.losses import InfoNCE
from embedkit.training import distributed, renewal
from embedkit.training.objective import Objective
from tests.training import ranks
from tests.training.members import DIRECTIONS

CHUNKS = (None, 2, 1)  # sizes


class Towers(nn.Module):
    """One encoder for queries, one for documents, and a parameter that nobody uses."""

    def __init__(self) -> None:
        super().__init__()
        self.towers = nn.ModuleList([ranks.Bag(), ranks.Bag()])
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.towers[int(features["input_ids"][0, 0]) < 10](features)
        return found


MODELS = (ranks.Bag, Towers)


def exchanges(rank: int) -> dict[str, Any]:
    """All of it, by name."""
    return {
        "wrapped": {model.__name__: [_wrapped(model(), rank, size) for size in CHUNKS] for model in MODELS},
        "scattered": _scattered(rank),
        "told": _told(rank),
        "renewed": _renewed(rank),
    }


def gradients(model: nn.Module, queries: list[int], chunk_size: int | None = None) -> list[Tensor | None]:
    """Of a step, whose gradients are forgotten, and another."""
    objective = Objective(model, InfoNCE(), chunk_size=chunk_size, chunk_tokens=None)
    for _ in range(2):
        objective.zero_grad()
        objective(*ranks.inputs(queries)).backward()
    return [parameter.grad for parameter in model.parameters()]


def _wrapped(model: nn.Module, rank: int, chunk_size: int | None) -> list[Tensor | None]:
    """Of a model whose wrapper averages gradients over processes, as the trainer has it."""
    model = nn.parallel.DistributedDataParallel(model, find_unused_parameters=True, broadcast_buffers=False)
    return gradients(model, ranks.SHARES[rank], chunk_size)


def _scattered(rank: int) -> list[Tensor]:
    """`value_and_gradients` with gradients exchanged as on GPUs: each process gets the sums of its own rows."""
    with patch.object(distributed, "_SCATTERS", ("gloo",)):
        found = ranks.value_and_gradients(InfoNCE(temperature=0.3, directions=DIRECTIONS), ranks.SHARES[rank])
    for tensor in found:
        dist.all_reduce(tensor)
        tensor /= 2
    return found


def _told(rank: int) -> list[Any]:
    asked: list[int] = []
    found = distributed.from_main(lambda: asked.append(rank) or f"process {rank}")
    rows = distributed.rows_of_all(torch.full((rank + 1, 2), float(rank), requires_grad=True))
    return [found, asked, [part.tolist() for part in rows], distributed.most(10 - rank)]


def _renewed(rank: int) -> list[Any]:
    """Vectors of texts that the processes share between them, and what the main one makes of an array's halves."""
    embedded: list[str] = []

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        embedded.extend(texts)
        return np.array([[float(text)] for text in texts], dtype=np.float32)

    vectors = renewal._shared(embed, [str(number) for number in range(129)])
    with TemporaryDirectory() as folder:  # of each process its own
        array = renewal.Renewals(Path(folder)).get(0, lambda: np.arange(3) + 10 * rank)
    return [vectors.ravel().tolist(), embedded, array.tolist()]
