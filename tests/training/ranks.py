"""What two processes compute together, for the test that they equal one. Imports no transformers: it starts often."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from embedkit.losses import AnyLoss, InfoNCE, MarginMSE, Ragged, SoftLabelInfoNCE
from embedkit.training.objective import Objective, Structure

DIRECTIONS = ("query_to_document", "query_to_query", "document_to_query", "document_to_document")
LOSSES: list[AnyLoss] = [
    InfoNCE(temperature=0.3, directions=DIRECTIONS),
    SoftLabelInfoNCE(),
    MarginMSE(),
    SoftLabelInfoNCE(hard_negatives=False),
]

# query -> positives, negatives. Document 0 is a positive of one process's query and a negative on the other;
# 3 is used by both; 7 is known to query 0, and a negative of query 4.
ROWS = {0: ([0], [3]), 1: ([1, 2], [4]), 2: ([5], []), 3: ([6], [3, 0]), 4: ([8], [7, 9])}
KNOWN = {0: [0, 7], 1: [1, 2], 2: [5], 3: [6, 9], 4: [8]}
SHARES = ([0, 1, 2], [3, 4])  # not equal


class Bag(nn.Module):
    """A text's embedding is looked up by its number."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.table = nn.Parameter(torch.randn(20, 6, generator=generator))

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": self.table[features["input_ids"][:, 0]]}


def inputs(queries: list[int]) -> tuple[list[dict[str, Tensor]], Structure]:
    columns: dict[int, int] = {}
    positives = [[columns.setdefault(d, len(columns)) for d in ROWS[q][0]] for q in queries]
    negatives = [[columns.setdefault(d, len(columns)) for d in ROWS[q][1]] for q in queries]
    wanted, unwanted = Ragged.of(positives), Ragged.of(negatives)
    targets = [((q * 7 + d * 3) % 10) / 10 for q in queries for part in ROWS[q] for d in part]
    structure = Structure(
        query_ids=torch.tensor(queries),
        doc_ids=torch.tensor(list(columns)),
        positive_offsets=wanted.offsets,
        positive_columns=wanted.values,
        negative_offsets=unwanted.offsets,
        negative_columns=unwanted.values,
        known=torch.tensor([(i, d) for i, q in enumerate(queries) for d in KNOWN[q]]),
        targets=torch.tensor(targets),
    )
    numbers = torch.tensor([[10 + q] for q in queries]), torch.tensor([[d] for d in columns])
    return [{"input_ids": rows} for rows in numbers], structure


def values_and_gradients(queries: list[int]) -> list[tuple[Tensor, Tensor]]:
    result = []
    for loss in LOSSES:
        objective = Objective(Bag(), loss)
        value = objective(*inputs(queries))
        value.backward()
        result.append((value.detach(), objective.model.table.grad))
    return result


def main(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    result = values_and_gradients(SHARES[rank])
    for pair in result:
        for tensor in pair:
            dist.all_reduce(tensor)
            tensor /= 2
    if rank == 0:
        torch.save(result, folder / "result.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
