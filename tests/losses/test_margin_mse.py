import math

import pytest
import torch
from torch.autograd import gradcheck

from embedkit.core.errors import DataError
from embedkit.losses import Batch, MarginMSE, Ragged
from tests.losses.batches import POSITIVES, nested, own_scores, ragged_batch
from tests.oracles.margin_mse import margin_mse_by_hand


def test_equals_the_formula_in_loops():
    batch = ragged_batch()
    expected = margin_mse_by_hand(own_scores(batch), nested(batch.targets), [len(p) for p in POSITIVES])
    assert MarginMSE()(batch).item() == pytest.approx(expected, rel=1e-9)


def test_gradients_are_right():
    batch = ragged_batch()

    def value(queries, documents):
        return MarginMSE()(ragged_batch(queries=queries, documents=documents))

    assert gradcheck(value, (batch.queries.requires_grad_(), batch.documents.requires_grad_()))


def test_equals_sentence_transformers():
    from sentence_transformers.sentence_transformer.losses import MarginMSELoss

    generator = torch.Generator().manual_seed(1)
    columns = [torch.randn(5, 8, generator=generator) for _ in range(4)]
    targets = torch.rand(5, 3, generator=generator)
    theirs = MarginMSELoss(_Given())([{"rows": column} for column in columns], targets)
    batch = Batch(
        columns[0],
        torch.cat(columns[1:]),
        torch.arange(5),
        torch.arange(15),
        Ragged.of([[i] for i in range(5)]),
        Ragged.of([[5 + i, 10 + i] for i in range(5)]),
        torch.empty(0, 2, dtype=torch.int64),
        targets=Ragged.of(targets.tolist(), dtype=torch.float32),
    )
    assert MarginMSE()(batch).item() == pytest.approx(theirs.item(), rel=1e-5)


def test_worked_number():
    """Margins 0.3 and 0.5, the teacher's 0.2 and 0.8."""
    cosines = torch.tensor([0.8, 0.5, 0.3], dtype=torch.float64)
    batch = Batch(
        torch.tensor([[1.0, 0.0]], dtype=torch.float64),
        torch.stack([cosines, (1 - cosines.square()).sqrt()], dim=1),
        torch.tensor([0]),
        torch.arange(3),
        Ragged.of([[0]]),
        Ragged.of([[1, 2]]),
        targets=Ragged.of([[0.9, 0.7, 0.1]], dtype=torch.float64),
    )
    assert MarginMSE()(batch).item() == pytest.approx((0.1**2 + 0.3**2) / 2, rel=1e-9)


def test_a_shift_of_the_teacher_changes_nothing():
    """In float32 too, where squares of errors of a large mean would drown their differences."""
    batch = ragged_batch(dtype=torch.float32)
    shifted = ragged_batch(dtype=torch.float32, targets=Ragged(batch.targets.offsets, batch.targets.values + 100))
    assert MarginMSE()(shifted).item() == pytest.approx(MarginMSE()(batch).item(), rel=1e-3)


def test_a_query_without_negatives_adds_nothing():
    batch = ragged_batch(negatives=False)
    batch.queries.requires_grad_()
    value = MarginMSE()(batch)
    value.backward()
    assert value.item() == 0
    assert (batch.queries.grad == 0).all()


def test_long_lists_need_no_matrix_of_pairs():
    generator = torch.Generator().manual_seed(2)
    documents = torch.randn(3000, 4, generator=generator)
    batch = Batch(
        torch.randn(40, 4, generator=generator),
        documents,
        torch.arange(40),
        torch.arange(3000),
        Ragged.of([list(range(1500))] * 40),
        Ragged.of([list(range(1500, 3000))] * 40),
        targets=Ragged(3000 * torch.arange(41), torch.rand(120_000, generator=generator)),
    )
    assert torch.isfinite(MarginMSE()(batch))  # its 40 · 1500 · 1500 pairs would take a third of a GB


def test_targets_must_be_there():
    assert MarginMSE().needs == {"targets", "negatives"}
    with pytest.raises(DataError, match="no teacher scores"):
        MarginMSE()(ragged_batch(targets=None))


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_targets_must_be_numbers(wrong):
    batch = ragged_batch()
    targets = batch.targets.values.clone()
    targets[0] = wrong
    with pytest.raises(DataError, match="not a finite number"):
        MarginMSE()(ragged_batch(targets=Ragged(batch.targets.offsets, targets)))


class _Given(torch.nn.Module):
    """A model whose embeddings are its input."""

    def forward(self, features):
        return {"sentence_embedding": features["rows"]}
