"""Laws that every member of `AnyLoss` obeys."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch

from embedkit.losses import AnyLoss, Batch, Ragged
from tests.losses.batches import ragged_batch

MEMBERS = get_args(get_args(AnyLoss)[0])
every_loss = pytest.mark.parametrize("loss", [member() for member in MEMBERS], ids=lambda loss: loss.kind)


def test_there_are_members():
    assert len(MEMBERS) >= 3


@every_loss
def test_the_docstring_has_a_formula_and_a_reference(loss):
    text = type(loss).__doc__
    assert "L = " in text
    assert "Reference: " in text


@every_loss
def test_an_oracle_test_exists(loss):
    module = type(loss).__module__.rsplit(".", 1)[1]
    text = (Path(__file__).parents[1] / "losses" / f"test_{module}.py").read_text()
    assert "_by_hand" in text
    assert "gradcheck(" in text


@every_loss
@pytest.mark.parametrize("seed", range(3))
def test_permuting_queries_and_documents_changes_nothing(loss, seed):
    batch = ragged_batch(seed=seed)
    queries = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    documents = torch.randperm(8, generator=torch.Generator().manual_seed(seed + 1))
    torch.testing.assert_close(loss(permuted(batch, queries, documents)), loss(batch))


@every_loss
def test_finite_with_gradients_without_negatives(loss):
    batch = ragged_batch(negatives=False)
    batch.queries.requires_grad_()
    value = loss(batch)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(batch.queries.grad).all()


@every_loss
def test_finite_when_every_other_document_is_known(loss):
    known = torch.tensor([(q, d) for q in range(4) for d in range(100, 108)])
    batch = ragged_batch(known=known)
    batch.documents.requires_grad_()
    value = loss(batch)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(batch.documents.grad).all()


@every_loss
def test_gradients_flow(loss):
    batch = ragged_batch()
    batch.queries.requires_grad_()
    batch.documents.requires_grad_()
    loss(batch).backward()
    assert batch.queries.grad.abs().sum() > 0
    assert batch.documents.grad.abs().sum() > 0


def permuted(batch: Batch, queries: torch.Tensor, documents: torch.Tensor) -> Batch:
    """The same batch with queries and documents in another order."""
    column = documents.argsort()

    def rows(ragged: Ragged) -> list[torch.Tensor]:
        parts = ragged.values.split(ragged.lengths.tolist())
        return [parts[i] for i in queries]

    return replace(
        batch,
        queries=batch.queries[queries],
        documents=batch.documents[documents],
        query_ids=batch.query_ids[queries],
        doc_ids=batch.doc_ids[documents],
        positives=Ragged.of([column[part].tolist() for part in rows(batch.positives)]),
        negatives=Ragged.of([column[part].tolist() for part in rows(batch.negatives)]),
        targets=Ragged.of([part.tolist() for part in rows(batch.targets)], dtype=torch.float64),
        known=torch.stack([queries.argsort()[batch.known[:, 0]], batch.known[:, 1]], dim=1),
    )
