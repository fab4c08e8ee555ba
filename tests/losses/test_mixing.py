from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from pydantic import ValidationError
from torch.autograd import gradcheck
from torch.nn.functional import normalize

from embedkit.losses import Batch, Guide, InfoNCE, Loss, MarginMSE, Mixing, MoCHi, Ragged
from embedkit.losses.mixes import Mixes, with_mixes
from tests.losses.batches import KNOWN, POSITIVES, SUSPECTS, nested, ragged_batch
from tests.oracles.infonce import dot, infonce_by_hand
from tests.oracles.margin_mse import margin_mse_by_hand
from tests.oracles.wrappers import (
    Mixed,
    beta_by_hand,
    hardest_by_hand,
    lists_by_hand,
    mixed_by_hand,
    pairs_by_hand,
    pools_by_hand,
    uniform_by_hand,
    with_query_by_hand,
)

NEGATIVES = [[5, 6, 7, 3], [7, 0, 6], [1], [5, 1, 2, 7, 5]]  # (0, 7) is known; query 3 has one of them twice
OUT = KNOWN | SUSPECTS | {(i, p) for i, row in enumerate(POSITIVES) for p in row}
DIRECTIONS = ("query_to_document", "query_to_query", "document_to_query", "document_to_document")


def deep_batch(**changes) -> Batch:
    """Own negatives enough to mix, and positives close enough that most mixes are below them."""
    batch = ragged_batch()
    documents = batch.documents.clone()
    documents.index_add_(0, batch.positives.values, 0.6 * batch.queries[batch.positives.rows])
    negatives = Ragged.of(NEGATIVES)
    generator = torch.Generator().manual_seed(1)
    targets = torch.rand(int((batch.positives.lengths + negatives.lengths).sum()), generator=generator).double()
    parts = {
        "documents": normalize(documents, dim=1),
        "negatives": negatives,
        "targets": Ragged(batch.positives.offsets + negatives.offsets, targets),
    }
    return replace(batch, **(parts | changes))


def mixed(batch: Batch, loss: Mixing | MoCHi, queries=None, documents=None) -> Mixed:
    """The batch as the oracle mixes it, from these embeddings or its own."""
    if queries is None:
        queries, documents = batch.queries.tolist(), batch.documents.tolist()
    seed, ids, doc_ids = batch.seed, batch.query_ids.tolist(), batch.doc_ids.tolist()
    in_batch = isinstance(loss, MoCHi) and loss.pool == "in_batch"
    lists = [list(range(len(documents)))] * len(queries) if in_batch else NEGATIVES
    pools = pools_by_hand(lists, OUT, doc_ids)
    if isinstance(loss, Mixing):
        mixes = pairs_by_hand(pools, loss.pairwise, seed, ids, beta_by_hand)
        mixes += lists_by_hand(pools, queries, documents, loss.temperature) if loss.listwise else []
    else:
        pools = hardest_by_hand(pools, queries, documents, loss.hardest)
        mixes = pairs_by_hand(pools, loss.pairs, seed, ids, uniform_by_hand)
        mixes += with_query_by_hand(pools, loss.with_query, seed, ids)
    guide = tuple(part.tolist() for part in batch.guide)
    return mixed_by_hand(
        mixes,
        queries,
        documents,
        POSITIVES,
        NEGATIVES,
        OUT,
        nested(batch.targets),
        guide,
        own=not in_batch,
        margin=loss.margin,
    )


MIXES = [
    Mixing(loss=InfoNCE(temperature=0.2, directions=DIRECTIONS)),
    Mixing(loss=InfoNCE(temperature=0.2), pairwise=5, listwise=False),
    Mixing(loss=InfoNCE(temperature=0.2, directions=DIRECTIONS), pairwise=0, temperature=1.0, margin=0.05),
    MoCHi(loss=InfoNCE(temperature=0.2, directions=DIRECTIONS), hardest=2),
    MoCHi(loss=InfoNCE(temperature=0.2), pairs=0, with_query=6),
    MoCHi(loss=InfoNCE(temperature=0.2, directions=DIRECTIONS), hardest=3, pairs=3, with_query=3, pool="in_batch"),
    MoCHi(loss=InfoNCE(temperature=0.2), hardest=100, pairs=5, with_query=0, pool="in_batch"),
]
every_mix = pytest.mark.parametrize("loss", MIXES, ids=str)


@every_mix
@pytest.mark.parametrize("seed", [7, -3])
def test_equals_the_formula_in_loops(loss, seed):
    batch = deep_batch(seed=seed)
    by_hand = mixed(batch, loss)
    assert len(by_hand.mixes) > 1
    inner = loss.loss
    expected = infonce_by_hand(
        batch.queries.tolist(), by_hand.documents, POSITIVES, by_hand.negatives, by_hand.out, 0.2, inner.directions
    )
    assert loss(batch).item() == pytest.approx(expected, rel=1e-9)
    assert loss(batch.changed(tile=1)).item() == pytest.approx(expected, rel=1e-9)
    assert loss(batch).item() != pytest.approx(inner(batch).item(), rel=1e-3)


def test_some_mixes_are_above_the_positive():
    assert sum(mixed(deep_batch(), loss).left_out for loss in MIXES) > 5


@every_mix
def test_gradients_are_right_where_they_reach_what_is_mixed(loss):
    batch = deep_batch()
    inner = loss.loss.model_copy(update={"temperature": 0.5})
    loss = loss.model_copy(update={"detach": False, "loss": inner})

    def value(queries, documents):
        return loss(batch.changed(queries=queries, documents=documents, unit=True))

    assert gradcheck(value, (batch.queries.requires_grad_(), batch.documents.requires_grad_()))


@every_mix
def test_no_gradient_reaches_what_is_mixed(loss):
    batch = deep_batch()
    fixed = mixed(batch, loss)
    whole = batch.changed(queries=batch.queries.requires_grad_(), documents=batch.documents.requires_grad_())
    grads = torch.autograd.grad(loss(whole), (whole.queries, whole.documents))
    places = [(0, 0, 0), (0, 1, 3), (0, 3, 5), (1, 0, 1), (1, 5, 2), (1, 7, 4)]
    for side, *where in places:
        ends = []
        for step in (1e-6, -1e-6):
            moved = [batch.queries.detach().clone(), batch.documents.detach().clone()]
            moved[side][tuple(where)] += step
            documents = moved[1].tolist() + fixed.documents[8:]
            parts = (moved[0].tolist(), documents, POSITIVES, fixed.negatives, fixed.out, 0.2, loss.loss.directions)
            ends.append(infonce_by_hand(*parts))
        assert grads[side][tuple(where)].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-6)


@pytest.mark.parametrize("loss", [Mixing(loss=MarginMSE()), MoCHi(loss=MarginMSE())], ids=str)
def test_mixes_have_teacher_scores(loss):
    batch = deep_batch()
    by_hand = mixed(batch, loss)
    columns = [p + n for p, n in zip(POSITIVES, by_hand.negatives, strict=True)]
    queries = batch.queries.tolist()
    scores = [[dot(q, by_hand.documents[j]) for j in row] for q, row in zip(queries, columns, strict=True)]
    expected = margin_mse_by_hand(scores, by_hand.targets, [len(p) for p in POSITIVES])
    assert loss(batch).item() == pytest.approx(expected, rel=1e-6)


class Kept(Loss):
    """Keeps the batch it is given."""

    kind: str = "kept"
    contrasts: ClassVar[bool] = True

    def compute(self, batch):
        SEEN.append(batch)
        return batch.queries.sum() * 0


SEEN: list[Batch] = []


@every_mix
def test_what_else_the_batch_carries(loss):
    batch = deep_batch()
    loss = loss.model_copy(update={"loss": Kept()})
    loss(batch)
    seen, by_hand = SEEN[-1], mixed(batch, loss)
    torch.testing.assert_close(seen.documents, torch.tensor(by_hand.documents, dtype=torch.float64))
    torch.testing.assert_close(seen.guide.documents, torch.tensor(by_hand.guide, dtype=torch.float64))
    assert nested(seen.targets) == [pytest.approx(row) for row in by_hand.targets]
    assert nested(seen.negatives) == by_hand.negatives
    classes = [{batch.doc_classes[j].item() for j in mix.weights} for mix in by_hand.mixes]
    assert seen.doc_classes[8:].tolist() == [min(c) if len(c) == 1 else -1 for c in classes]
    used = {*batch.doc_ids.tolist(), *batch.known[:, 1].tolist(), *batch.suspects[:, 1].tolist()}
    assert used.isdisjoint(seen.doc_ids[8:].tolist())
    assert used.isdisjoint(batch.taught.doc_ids.tolist()) is False
    assert set(batch.taught.doc_ids.tolist()).isdisjoint(seen.doc_ids[8:].tolist())


def test_draws_change_with_the_seed_alone():
    loss = Mixing(loss=InfoNCE(temperature=0.2), listwise=False)
    values = [loss(deep_batch(seed=seed)).item() for seed in (1, 2, 1)]
    assert values[0] == values[2] != values[1]


@pytest.mark.parametrize(
    "loss", [Mixing(loss=Mixing()), MoCHi(loss=Mixing()), Mixing(loss=MoCHi(pool="in_batch"))], ids=str
)
def test_the_order_of_queries_and_documents_changes_nothing_in_nested_mixes(loss):
    from tests.laws.test_losses import permuted

    batch = deep_batch()
    for queries in (torch.tensor([3, 1, 0, 2]), torch.tensor([1, 0, 2, 3])):
        torch.testing.assert_close(loss(permuted(batch, queries, torch.arange(8).flip(0))), loss(batch))


@pytest.mark.parametrize("lists", [[[], [], [], []], [[5], [7], [], [1]]])
def test_fewer_than_two_negatives_are_not_mixed(lists):
    batch = deep_batch(negatives=Ragged.of(lists), targets=None)
    assert Mixing()(batch).item() == InfoNCE()(batch).item()


def plane(*, queries, documents, negatives, **changes) -> Batch:
    return Batch(
        queries=torch.tensor([queries], dtype=torch.float64),
        documents=torch.tensor(documents, dtype=torch.float64),
        query_ids=torch.tensor([0]),
        doc_ids=torch.arange(len(documents)),
        positives=Ragged.of([[0]]),
        negatives=Ragged.of([negatives]),
        **changes,
    )


def test_worked_numbers_of_a_pair():
    batch = plane(queries=[1.0, 0.0], documents=[[1, 0], [1, 0], [0, 1]], negatives=[1, 2])
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
    mixes = Mixes(torch.tensor([0]), torch.zeros(1), torch.tensor([0, 0]), torch.tensor([1, 2]), weights)
    found = with_mixes(batch, mixes, own=True, margin=0.0, detach=True)
    assert found.documents[3].tolist() == pytest.approx([0.393919, 0.919145], abs=1e-6)
    assert nested(found.negatives) == [[1, 2, 3]]


@pytest.mark.parametrize(("positive", "kept"), [(0.9995, True), (0.9990, False)])
def test_worked_numbers_of_a_list(positive, kept):
    """A mix scores 0.999095, above both documents it is mixed of, and maybe above the positive."""
    documents = [[0.6 * positive + 0.8 * (1 - positive**2) ** 0.5, 0.8 * positive - 0.6 * (1 - positive**2) ** 0.5]]
    batch = plane(queries=[0.6, 0.8], documents=[*documents, [1, 0], [0, 1]], negatives=[1, 2])
    Mixing(loss=Kept(), pairwise=0, temperature=1.0)(batch)
    found = SEEN[-1].documents[3:]
    assert len(found) == kept
    if kept:
        assert found[0].tolist() == pytest.approx([0.633492, 0.773749], abs=1e-6)
        assert (found[0] @ batch.queries[0]).item() == pytest.approx(0.999095, abs=1e-6)


@pytest.mark.parametrize(("share", "score"), [(0.25, 0.316228), (0.5, 0.707107)])
def test_worked_numbers_of_a_mix_with_the_query(share, score):
    batch = plane(queries=[1.0, 0.0], documents=[[1, 0], [0, 1]], negatives=[1])
    shares = torch.tensor([share], dtype=torch.float64)
    mixes = Mixes(torch.tensor([0]), shares, torch.tensor([0]), torch.tensor([1]), 1 - shares)
    found = with_mixes(batch, mixes, own=True, margin=0.0, detach=True).documents[2]
    assert (found @ batch.queries[0]).item() == pytest.approx(score, abs=1e-6)


def test_embeddings_of_any_length_are_mixed_as_they_are():
    batch = plane(queries=[2.0, 0.0], documents=[[3, 0], [2, 0], [0, 2]], negatives=[1, 2], unit=False)
    Mixing(loss=Kept(), pairwise=4, listwise=False)(batch)
    found = SEEN[-1].documents[3:]
    assert len(found) == 4
    torch.testing.assert_close(found.sum(1), torch.full((4,), 2.0, dtype=torch.float64))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Mixing(pairwise=0, listwise=False),
        lambda: MoCHi(pairs=0, with_query=0),
        lambda: MoCHi(loss=MarginMSE(), pool="in_batch"),
    ],
)
def test_refuses_what_has_no_effect(make):
    with pytest.raises(ValidationError, match=r"above 0|makes more"):
        make()


def test_works_in_half_precision_with_a_guide_of_another_type():
    batch = ragged_batch(dtype=torch.bfloat16)
    guide = Guide(*(part.half() for part in batch.guide))
    assert torch.isfinite(Mixing()(batch.changed(guide=guide)))
