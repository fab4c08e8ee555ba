import subprocess
import sys
from pathlib import Path

import pytest
import torch

from embedkit.losses import InfoNCE, Ragged
from embedkit.training import objective as module
from embedkit.training.objective import Objective, Structure
from tests.training import ranks

ROOT = Path(__file__).parents[2]


def structure() -> Structure:
    wanted, unwanted = Ragged.of([[0], [1], [2], [3]]), Ragged.of([[4], [5], [6], [0]])
    return Structure(
        query_ids=torch.arange(4),
        doc_ids=torch.arange(7),
        positive_offsets=wanted.offsets,
        positive_columns=wanted.values,
        negative_offsets=unwanted.offsets,
        negative_columns=unwanted.values,
        known=torch.tensor([(i, i) for i in range(4)]),
    )


@pytest.fixture
def model(tiny_model):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(tiny_model), device="cpu").double()


def gradients(model, *, chunk_size: int | None) -> list[torch.Tensor]:
    texts = (
        ["list file", "copy a disk", "merge", "sort page table"],
        ["print user group", *"list copy move a b c".split()],
    )
    columns = [dict(model.preprocess(part)) for part in texts]
    model.zero_grad()
    torch.manual_seed(0)
    Objective(model, InfoNCE(), chunk_size=chunk_size)(columns, structure()).backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("chunk_size", [1, 3, 100])
def test_chunked_equals_whole(model, chunk_size):
    model.eval()  # dropout off: its masks fall on other rows where chunks are other
    whole = gradients(model, chunk_size=None)
    assert any(g.abs().sum() > 0 for g in whole)
    torch.testing.assert_close(gradients(model, chunk_size=chunk_size), whole)


def test_a_chunk_that_is_run_again_has_the_same_dropout(model, monkeypatch):
    model.train()
    again = gradients(model, chunk_size=3)
    monkeypatch.setattr(module, "checkpoint", lambda function, chunk, use_reentrant: function(chunk))
    torch.testing.assert_close(gradients(model, chunk_size=3), again)
    model.eval()
    assert not torch.allclose(gradients(model, chunk_size=3)[0], again[0])  # dropout was on


def test_normalisation_is_a_choice():
    rows = Objective(ranks.Bag(), InfoNCE(), normalize=False)._encode({"input_ids": torch.tensor([[1], [2]])})
    torch.testing.assert_close(rows, ranks.Bag().table[1:3])
    unit = Objective(ranks.Bag(), InfoNCE())._encode({"input_ids": torch.tensor([[1], [2]])})
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(2))


def test_two_processes_equal_one(tmp_path):
    workers = [
        subprocess.Popen([sys.executable, "-m", "tests.training.ranks", str(rank), str(tmp_path)], cwd=ROOT)
        for rank in range(2)
    ]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    together = torch.load(tmp_path / "result.pt")
    alone = ranks.values_and_gradients([0, 1, 2, 3, 4])
    assert len(together) == len(alone) >= 3
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other)
