"""Law: whatever the batch, a loss in tiles makes no tensor much larger than the scores of one tile."""

import traceback

import pytest
import torch
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from embedkit.losses import Batch, Guide, MoCHi, Ragged, SoftLabelInfoNCE, Taught, order, pairwise, selection, unpg
from tests.laws.test_losses import COMPOSITIONS
from tests.training.members import every_loss

QUERIES, DOCUMENTS, TILE = 512, 1536, 16
SCORES = TILE * DOCUMENTS
COMPOSED = [*COMPOSITIONS, MoCHi(pool="in_batch", loss=SoftLabelInfoNCE())]
EVERY = every_loss() | {f"{loss.kind} composed {i}": loss for i, loss in enumerate(COMPOSED)}


@pytest.mark.parametrize("loss", EVERY.values(), ids=EVERY)
def test_no_tensor_is_much_larger_than_the_scores_of_a_tile(loss, small_constants):
    with _Largest() as largest:
        loss(large_batch(tile=TILE)).backward()
    assert largest.size <= 2 * SCORES, largest.made


@pytest.mark.parametrize("loss", EVERY.values(), ids=EVERY)
def test_nor_than_those_of_the_local_queries_without_tiles(loss, small_constants):
    """As one of many processes has it: every process's queries, of which few are its own."""
    with _Largest() as largest:
        loss(large_batch(local=range(TILE, 2 * TILE))).backward()
    assert largest.size <= 2 * SCORES * 2, largest.made  # mixing nearly doubles the documents


@pytest.fixture
def small_constants(monkeypatch):
    """What losses hold at once however small a tile is, made small as well."""
    monkeypatch.setattr(unpg, "SCANNED", SCORES)
    monkeypatch.setattr(order, "LIMIT", SCORES)
    monkeypatch.setattr(pairwise, "_COUNTERS", 1)
    monkeypatch.setattr(selection, "BITS", 8)
    monkeypatch.setattr(selection, "BINS", 2**8)


class _Largest(TorchDispatchMode):
    """The most numbers any tensor has that is made, and what made it."""

    def __init__(self) -> None:
        super().__init__()
        self.size, self.made = 0, ""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and tensor.numel() > self.size:
                frames = [f for f in traceback.extract_stack() if "embedkit/losses" in f.filename]
                where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "the backward pass"
                self.size, self.made = tensor.numel(), f"{func} {tuple(tensor.shape)} in {where}"
        return out


def large_batch(**changes) -> Batch:
    generator = torch.Generator().manual_seed(0)

    def vectors(number: int, size: int) -> torch.Tensor:
        return normalize(torch.randn(number, size, generator=generator), dim=1)

    every = range(QUERIES)
    return Batch(
        queries=vectors(QUERIES, 4).requires_grad_(),
        documents=vectors(DOCUMENTS, 4).requires_grad_(),
        query_ids=torch.arange(QUERIES),
        doc_ids=torch.arange(DOCUMENTS),
        positives=Ragged.of([[i] for i in every]),
        negatives=Ragged.of([[QUERIES + i, 2 * QUERIES + i] for i in every]),
        targets=Ragged.of(torch.rand(QUERIES, 3, generator=generator).tolist(), dtype=torch.float32),
        taught=Taught(
            torch.arange(QUERIES),
            (torch.arange(QUERIES) + 1) % QUERIES,
            torch.rand(QUERIES, generator=generator),
        ),
        query_classes=torch.arange(QUERIES) % 7,
        doc_classes=torch.arange(DOCUMENTS) % 7,
        guide=Guide(vectors(QUERIES, 3), vectors(DOCUMENTS, 3)),
        level=torch.tensor(0.3),
        seed=3,
        **changes,
    )
