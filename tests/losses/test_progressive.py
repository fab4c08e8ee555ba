import math

import pytest
import torch
from pydantic import ValidationError
from torch.autograd import gradcheck

from embedkit.core.errors import DataError
from embedkit.losses import Batch, Guided, InfoNCE, MarginMSE, Matryoshka, Progressive, Ragged
from tests.losses.batches import KNOWN, NEGATIVES, POSITIVES, SUSPECTS, ragged_batch
from tests.losses.test_infonce import columns_batch
from tests.oracles.wrappers import progressive_by_hand, weighted_infonce_by_hand

DIRECTIONS = ("query_to_document", "query_to_query", "document_to_query", "document_to_document")


def by_hand(queries, documents, level, *, directions=DIRECTIONS, temperature=0.2, stopped=None):
    fixed = stopped or (queries.tolist(), documents.tolist())
    return weighted_infonce_by_hand(
        queries.tolist(),
        documents.tolist(),
        POSITIVES,
        NEGATIVES,
        KNOWN | SUSPECTS,
        temperature,
        directions,
        progressive_by_hand(*fixed, POSITIVES, level),
    )


@pytest.mark.parametrize("level", [-1.0, -0.2, 0.0, 0.3, 0.9])
@pytest.mark.parametrize("directions", [DIRECTIONS[:1], DIRECTIONS])
def test_equals_the_formula_in_loops(level, directions):
    batch = ragged_batch(level=torch.tensor(level))
    loss = Progressive(loss=InfoNCE(temperature=0.2, directions=directions))
    expected = by_hand(batch.queries, batch.documents, level, directions=directions)
    assert loss(batch).item() == pytest.approx(expected, rel=1e-6)
    assert loss(batch).item() != pytest.approx(loss.loss(batch).item(), rel=1e-3)


def test_no_gradient_goes_through_the_weights():
    batch = ragged_batch()
    batch.queries.requires_grad_()
    Progressive(loss=InfoNCE(temperature=0.5, directions=DIRECTIONS))(batch).backward()
    fixed = batch.queries.tolist(), batch.documents.tolist()
    for where in [(0, 0), (1, 3), (3, 5)]:
        ends = []
        for step in (1e-6, -1e-6):
            moved = batch.queries.detach().clone()
            moved[where] += step
            ends.append(by_hand(moved, batch.documents, 0.3, temperature=0.5, stopped=fixed))
        assert batch.queries.grad[where].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-7)


def test_gradients_are_those_of_the_loss_where_no_negative_is_hard():
    generator = torch.Generator().manual_seed(0)
    queries = torch.eye(4, dtype=torch.float64) + 0.2 * torch.randn(4, 4, generator=generator, dtype=torch.float64)
    loss = Progressive(loss=InfoNCE(temperature=0.5, directions=DIRECTIONS))

    def value(queries, documents):
        batch = columns_batch(queries, documents.split(4))
        return loss(batch.changed(level=torch.tensor(0.9), unit=False))

    documents = torch.cat([queries, -queries])
    assert loss.loss(columns_batch(queries, documents.split(4))).item() == value(queries, documents).item()
    assert gradcheck(value, (queries.requires_grad_(), documents.requires_grad_()))


def test_worked_numbers():
    """Positive 0.5, negatives 0.3 and 0.7, level 0.2: the second weighs 0.9."""
    cosines = torch.tensor([0.5, 0.3, 0.7], dtype=torch.float64)
    batch = Batch(
        queries=torch.tensor([[1.0, 0.0]], dtype=torch.float64),
        documents=torch.stack([cosines, (1 - cosines.square()).sqrt()], dim=1),
        query_ids=torch.tensor([0]),
        doc_ids=torch.arange(3),
        positives=Ragged.of([[0]]),
        negatives=Ragged.of([[1, 2]]),
        level=torch.tensor(0.2),
    )
    expected = math.log((math.exp(5) + math.exp(3) + 0.9 * math.exp(7)) / math.exp(5))
    assert Progressive(loss=InfoNCE(temperature=0.1))(batch).item() == pytest.approx(expected, rel=1e-6)


def test_a_negative_as_close_as_the_positive_keeps_its_weight():
    queries = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    documents = torch.randn(1, 6, generator=torch.Generator().manual_seed(1)).repeat(4, 1)
    parts = {"queries": queries, "documents": documents, "query_ids": torch.arange(2), "doc_ids": torch.arange(4)}
    batch = Batch(**parts, positives=Ragged.of([[0], [1]]), negatives=Ragged.of([[2], [3]]), level=torch.tensor(0.1))
    assert Progressive()(batch).item() == pytest.approx(InfoNCE()(batch).item(), rel=1e-6)


def test_the_level_is_a_running_mean_over_all_queries():
    batch = ragged_batch()
    scores = (batch.queries[:, None] * batch.documents).sum(-1)
    mean = sum(sum(float(scores[i, p]) for p in row) / len(row) for i, row in enumerate(POSITIVES)) / 4
    loss = Progressive(momentum=0.9)
    for local in (range(4), range(1, 2)):
        first = loss.next_level(None, batch.changed(local=local))
        assert first.item() == pytest.approx(mean)
        assert loss.next_level(first + 0.5, batch.changed(local=local)).item() == pytest.approx(mean + 0.45)
    batch.queries.requires_grad_()
    assert not loss.next_level(None, batch).requires_grad
    assert loss.next_level(None, ragged_batch(dtype=torch.bfloat16)).dtype == torch.float32


def test_wrappers_pass_the_level_on():
    batch = ragged_batch()
    loss = Matryoshka(loss=Progressive(loss=Guided()))
    assert loss.needs == {"level", "guide"}
    assert loss.next_level(None, batch).item() == pytest.approx(Progressive().next_level(None, batch).item())


def test_needs_a_level():
    with pytest.raises(DataError, match="no level"):
        Progressive()(ragged_batch(level=None))


@pytest.mark.parametrize(
    "inner", [MarginMSE(), Matryoshka(loss=MarginMSE()), Progressive(), Guided(loss=Progressive())]
)
def test_refuses_a_loss_without_in_batch_negatives_and_a_second_level(inner):
    with pytest.raises(ValidationError, match=r"no in-batch negatives|level of its own"):
        Progressive(loss=inner)
