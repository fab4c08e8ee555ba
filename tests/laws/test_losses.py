"""Laws that every member of `AnyLoss` obeys."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch.nn.functional import normalize

from embedkit.losses import (
    CACR,
    DCLW,
    PRO,
    UNPG,
    AnyLoss,
    Batch,
    DecoupledSoftmax,
    Guide,
    Guided,
    InfoNCE,
    Loss,
    MannWhitney,
    Matryoshka,
    Mixing,
    MoCHi,
    Progressive,
    Ragged,
    SoftLabelInfoNCE,
    SoftTopK,
    Taught,
)
from tests.losses.batches import ragged_batch

MEMBERS = get_args(get_args(AnyLoss)[0])
DIRECTIONS = ("query_to_document", "query_to_query", "document_to_query", "document_to_document")
COMPOSITIONS: list[Loss] = [
    InfoNCE(directions=DIRECTIONS, focal=0.5, hardness=2.0, mask_classes=True),
    InfoNCE(other_positives="negatives"),
    DecoupledSoftmax(reduction="sum"),
    SoftTopK(k="positives"),
    DCLW(directions=DIRECTIONS),
    SoftLabelInfoNCE(in_batch_targets=True, in_batch_negatives=True, divergence="js", normalization="z_score"),
    SoftLabelInfoNCE(hard_negatives=False, divergence="symmetric_kl", normalization="min_max"),
    MannWhitney(reduction="sum_negatives"),
    PRO(scope="list"),
    UNPG(whiskers=None),
    CACR(detach_weights=True),
    Matryoshka(loss=Mixing(loss=SoftLabelInfoNCE()), dims=(4, 2)),
    Progressive(loss=Guided(loss=InfoNCE(directions=DIRECTIONS))),
    Guided(loss=MannWhitney(), margin=0.1),
    MoCHi(loss=DecoupledSoftmax(), pool="in_batch"),
]
LOSSES = [member() for member in MEMBERS] + COMPOSITIONS
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=str)
every_member = pytest.mark.parametrize("loss", [member() for member in MEMBERS], ids=lambda loss: loss.kind)


def test_there_are_members():
    assert len(MEMBERS) >= 3
    assert len({member().kind for member in MEMBERS}) == len(MEMBERS)


@every_member
def test_the_docstring_has_a_formula_and_a_reference(loss):
    text = type(loss).__doc__
    assert "L = " in text
    assert "Reference: " in text


@every_member
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
@pytest.mark.parametrize("ranges", [[1, 3], [2, 1, 1], [1, 1, 1, 1]], ids=str)
def test_ranges_of_queries_average_to_the_whole(loss, ranges):
    whole, parts = graph_batch(), []
    expected = value_and_gradients(loss, whole)
    start = 0
    for size in ranges:
        part = value_and_gradients(loss, graph_batch().changed(local=range(start, start + size)))
        parts.append([size / 4 * number for number in part])
        start += size
    found = [torch.stack(numbers).sum(0) for numbers in zip(*parts, strict=True)]
    torch.testing.assert_close(found, expected)


@every_loss
@pytest.mark.parametrize("tile", [1, 2, 3])
def test_tiles_are_exact(loss, tile):
    expected = value_and_gradients(loss, graph_batch())
    torch.testing.assert_close(value_and_gradients(loss, graph_batch().changed(tile=tile)), expected)
    with torch.no_grad():
        torch.testing.assert_close(loss(graph_batch().changed(tile=tile)), expected[0])


@every_loss
def test_nothing_is_computed_in_half_precision(loss):
    exact = loss(ragged_batch(dtype=torch.float32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(loss(ragged_batch(dtype=torch.float32)), exact)
    for dtype in (torch.float16, torch.bfloat16):
        rounded = ragged_batch(dtype=dtype)
        value = loss(rounded)
        assert value.dtype == torch.float32
        torch.testing.assert_close(
            value, loss(rounded.changed(queries=rounded.queries.float(), documents=rounded.documents.float()))
        )


@every_loss
def test_both_sides_are_always_in_the_graph(loss):
    """Another process would wait for their gradients for ever."""
    for changes in (
        {},
        {"negatives": False},
        {"known": torch.tensor([(q, d) for q in range(4) for d in range(100, 108)])},
    ):
        batch = ragged_batch(**changes)
        batch.queries.requires_grad_()
        batch.documents.requires_grad_()
        grads = torch.autograd.grad(
            loss(batch.changed(local=range(2, 3))), (batch.queries, batch.documents), allow_unused=True
        )
        assert all(grad is not None for grad in grads)


@every_loss
def test_a_batch_of_one_query_has_a_loss_or_says_why_not(loss):
    queries, documents = (
        normalize(torch.randn(n, 4, generator=torch.Generator().manual_seed(0)), dim=1) for n in (1, 3)
    )
    batch = Batch(
        queries.requires_grad_(),
        documents,
        torch.tensor([1]),
        torch.arange(3),
        Ragged.of([[0]]),
        Ragged.of([[1, 2]]),
        targets=Ragged.of([[0.5, 0.5, 0.5]], dtype=torch.float32),
        query_classes=torch.tensor([0]),
        doc_classes=torch.tensor([0, 1, 1]),
        guide=Guide(torch.ones(1, 1), torch.ones(3, 1)),
        level=torch.tensor(0.5),
        taught=Taught(*(torch.empty(0, dtype=dtype) for dtype in (torch.int64, torch.int64, torch.float32))),
    )
    value = loss(batch)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(queries.grad).all()


@every_loss
def test_saturated_scores_stay_finite(loss):
    batch = ragged_batch(dtype=torch.float32)
    batch = batch.changed(queries=(1e3 * batch.queries).requires_grad_(), unit=False)
    value = loss(batch)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(batch.queries.grad).all()


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


def graph_batch() -> Batch:
    batch = ragged_batch()
    return batch.changed(queries=batch.queries.requires_grad_(), documents=batch.documents.requires_grad_())


def value_and_gradients(loss, batch: Batch) -> list[torch.Tensor]:
    value = loss(batch)
    return [value.detach(), *torch.autograd.grad(value, (batch.queries, batch.documents))]


def permuted(batch: Batch, queries: torch.Tensor, documents: torch.Tensor) -> Batch:
    """The same batch with queries and documents in another order."""
    column = documents.argsort()

    def rows(ragged: Ragged) -> list[torch.Tensor]:
        parts = ragged.values.split(ragged.lengths.tolist())
        return [parts[i] for i in queries]

    def renumbered(pairs: torch.Tensor) -> torch.Tensor:
        return torch.stack([queries.argsort()[pairs[:, 0]], pairs[:, 1]], dim=1)

    return replace(
        batch,
        queries=batch.queries[queries],
        documents=batch.documents[documents],
        query_ids=batch.query_ids[queries],
        doc_ids=batch.doc_ids[documents],
        positives=Ragged.of([column[part].tolist() for part in rows(batch.positives)]),
        negatives=Ragged.of([column[part].tolist() for part in rows(batch.negatives)]),
        targets=Ragged.of([part.tolist() for part in rows(batch.targets)], dtype=torch.float64),
        known=renumbered(batch.known),
        suspects=renumbered(batch.suspects),
        taught=batch.taught._replace(rows=queries.argsort()[batch.taught.rows]),
        query_classes=batch.query_classes[queries],
        doc_classes=batch.doc_classes[documents],
        guide=Guide(batch.guide.queries[queries], batch.guide.documents[documents]),
    )
