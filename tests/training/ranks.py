"""What two processes compute together, for the test that they equal one. Imports no transformers: it starts often."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import normalize

from embedkit.core.errors import DataError
from embedkit.losses import InfoNCE, LambdaLoss, Loss, Ragged
from embedkit.retrieval.exact import look_exactly
from embedkit.training.assembly import Structure
from embedkit.training.memory import CrossBatch, Momentum
from embedkit.training.objective import Objective, Tile
from embedkit.training.retrieved import Retrieved
from tests.training.members import every_loss

# query -> positives, negatives. Document 0 is a positive of one process's query and a negative on the other;
# 3 is used by both; 7 is known to query 0, and a negative of query 4.
ROWS = {0: ([0], [3]), 1: ([1, 2], [4]), 2: ([5], []), 3: ([6], [3, 0]), 4: ([8], [7, 9])}
KNOWN = {0: [0, 7], 1: [1, 2, 8], 2: [5], 3: [6, 9], 4: [1, 2, 8]}
SUSPECTS = {0: [9], 1: [3], 2: [], 3: [], 4: [5, 50]}  # documents of the other process too, and absent ones
TAUGHT = {0: [6], 1: [8, 5], 2: [], 3: [2], 4: [60, 0]}
TEXTS = {0: 0, 1: 1, 2: 2, 3: 3, 4: 1}  # query -> its text, which two processes may both have
SHARES = ([0, 1, 2], [3, 4])  # not equal
PATIENCE = timedelta(seconds=60)  # with a process that does not take part in an exchange


class Bag(nn.Module):
    """A text's embedding is looked up by its number and passes two layers with dropout between."""

    def __init__(self, *, dropout: float = 0.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.table = nn.Parameter(torch.randn(20, 6, generator=generator, dtype=torch.float64))
        self.mixed = nn.Parameter(torch.randn(6, 6, generator=generator, dtype=torch.float64))
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("places", torch.arange(4), persistent=False)  # as encoders have, for DDP to exchange

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": self.dropout(self.table[features["input_ids"][:, 0]]) @ self.mixed}


def inputs(queries: list[int]) -> tuple[list[dict[str, Tensor]], Structure]:
    """Features and structure of a batch of these queries, with every part that a loss may ask for."""
    columns: dict[int, int] = {}
    wanted = Ragged.of([[columns.setdefault(d, len(columns)) for d in ROWS[q][0]] for q in queries])
    unwanted = Ragged.of([[columns.setdefault(d, len(columns)) for d in ROWS[q][1]] for q in queries])
    taught = [(i, q, d) for i, q in enumerate(queries) for d in TAUGHT[q]]
    structure = Structure(
        query_ids=torch.tensor([TEXTS[q] for q in queries]),
        doc_ids=torch.tensor(list(columns)),
        positive_offsets=wanted.offsets,
        positive_columns=wanted.values,
        negative_offsets=unwanted.offsets,
        negative_columns=unwanted.values,
        known=_pairs([(i, d) for i, q in enumerate(queries) for d in KNOWN[q]]),
        suspects=_pairs([(i, d) for i, q in enumerate(queries) for d in SUSPECTS[q]]),
        targets=torch.tensor([_score(q, d) for q in queries for part in ROWS[q] for d in part]),
        taught_pairs=_pairs([(i, d) for i, _, d in taught]),
        taught_scores=torch.tensor([_score(q, d) for _, q, d in taught]),
        query_classes=torch.tensor([TEXTS[q] % 3 - 1 for q in queries]),
        doc_classes=torch.tensor([d % 4 - 1 for d in columns]),
        guide_queries=_guide()[[10 + TEXTS[q] for q in queries]],
        guide_documents=_guide()[list(columns)],
        seed=torch.tensor(7),
        source=torch.tensor(0),
    )
    numbers = torch.tensor([[10 + TEXTS[q]] for q in queries]), torch.tensor([[d] for d in columns])
    return [{"input_ids": rows} for rows in numbers], structure


def value_and_gradients(
    loss: Loss, queries: list[int], *, chunk_size: int | None = None, tile: Tile = None, dropout: float = 0.0
) -> list[Tensor]:
    """The loss of a batch of these queries, and the gradients of the model."""
    objective = Objective(Bag(dropout=dropout), loss, chunk_size=chunk_size, tile=tile)
    torch.manual_seed(0)
    value = objective(*inputs(queries))
    value.backward()
    return [value.detach(), *(parameter.grad for parameter in objective.model.parameters())]


def _pairs(pairs: list[tuple[int, int]]) -> Tensor:
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)


def _score(query: int, document: int) -> float:
    return ((TEXTS[query] * 7 + document * 3) % 10) / 10


def _guide() -> Tensor:
    return normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(1)), dim=1)


MEMORIES = (CrossBatch(size=4), CrossBatch(size=100), Momentum(size=3, decay=0.7), Momentum(size=100, decay=0.7))
STEPS = ([0, 1, 2], [3, 4], [1, 4], [2, 3, 0])


def next_inputs(queries: list[int]) -> tuple[list[dict[str, Tensor]], Structure]:
    """`inputs` without a seed, and so those of another step each time."""
    columns, structure = inputs(queries)
    del structure["seed"]
    return columns, structure


def remembered(
    memory: CrossBatch | Momentum | None,
    *,
    rank: int = 0,
    of: int = 1,
    chunk_size: int | None = None,
    tile: Tile = None,
) -> list[Tensor]:
    """Value and gradients of several steps with a memory, of all processes together; each has every `of`-th query."""
    model = Bag() if of == 1 else _averaging(Bag())
    objective = Objective(model, InfoNCE(temperature=0.3), chunk_size=chunk_size, tile=tile, memory=memory)
    result = []
    for queries in STEPS:
        objective.zero_grad()
        value = objective(*next_inputs(queries[rank::of]))
        value.backward()
        found = [value.detach(), *(parameter.grad.clone() for parameter in objective.model.parameters())]
        for tensor in found if of > 1 else []:
            dist.all_reduce(tensor)
            tensor /= of
        with torch.no_grad():
            for parameter, gradient in zip(objective.model.parameters(), found[1:], strict=True):
                parameter -= 0.5 * gradient
        result += found
    return result


def _averaging(model: nn.Module) -> nn.Module:
    return nn.parallel.DistributedDataParallel(model, find_unused_parameters=True, broadcast_buffers=False)


def retrieved(*, rank: int = 0, of: int = 1) -> list[Tensor]:
    """Value and gradients where documents are found among vectors that stay, by each process for its own queries."""
    vectors = torch.randn(70, 6, generator=torch.Generator().manual_seed(2)).numpy()
    retrieve = Retrieved(vectors, look_exactly(vectors), top_k=9)
    objective = Objective(Bag(), LambdaLoss(temperature=0.3), retrieve=retrieve)
    columns, structure = inputs(list(ROWS)[rank::of])
    value = objective(columns[:1], structure)
    value.backward()
    found = [value.detach(), *(parameter.grad for parameter in objective.model.parameters())]
    for tensor in found if of > 1 else []:
        dist.all_reduce(tensor)
        tensor /= of
    return found


def problems(rank: int) -> list[str]:
    """What is said where this process's batch has not the parts, or not the seed, of the other's."""
    said = []
    columns, lacking = inputs(SHARES[rank])
    _, other = inputs(SHARES[rank])
    other["seed"] = torch.tensor(rank)
    if rank == 1:
        del lacking["targets"]
    for structure in (lacking, other):
        try:
            Objective(Bag(), InfoNCE())(columns, structure)
        except DataError as error:
            said.append(str(error))
    return said


def main(rank: int, folder: Path) -> None:
    """Compute what this process has of every loss, and as process 0 write the mean over processes."""
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2, timeout=PATIENCE)
    result: dict[str, Any] = {}
    for name, loss in every_loss().items():
        try:
            result[name] = value_and_gradients(loss, SHARES[rank])
        except Exception as error:
            raise SystemExit(f"process {rank}, {name}: {error}") from error
        for tensor in result[name]:
            dist.all_reduce(tensor)
            tensor /= 2
    result["problems"] = problems(rank)
    result["retrieved"] = retrieved(rank=rank, of=2)
    result["remembered"] = [remembered(memory, rank=rank, of=2) for memory in MEMORIES]
    from tests.training.exchanges import exchanges

    result |= exchanges(rank)
    if rank == 0:
        torch.save(result, folder / "result.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
