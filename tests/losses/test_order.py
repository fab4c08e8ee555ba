import itertools

import pytest
import torch
from pydantic import ValidationError
from torch.autograd import gradcheck
from torch.nn.functional import normalize

from embedkit.core.errors import DataError
from embedkit.losses import PRO, Batch, Pearson, Ragged, RankKL, order
from tests.losses.batches import nested, own_scores, ragged_batch
from tests.oracles.order import ideal_by_hand, pearson_by_hand, pro_by_hand, rank_kl_by_hand

LOSSES = [
    Pearson(),
    RankKL(),
    RankKL(temperature=0.7, reduction="mean"),
    PRO(),
    PRO(temperature=0.3, normalize=False),
]
LOSSES += [loss.model_copy(update={"scope": "list"}) for loss in LOSSES]
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=str)
TIED = Ragged.of([[0.5, 0.5, 0.5], [1.0, 0.2, 1.0], [0.3], [0.2, 0.9, 0.2, 0.9]], dtype=torch.float64)


def by_hand(loss, scores, targets):
    """The oracle of `loss` over its lists."""
    lists = list(zip(scores, targets, strict=True))
    if loss.scope == "batch":
        lists = [([*itertools.chain(*scores)], [*itertools.chain(*targets)])]
    return sum(one_by_hand(loss, *pair) for pair in lists) / len(lists)


def one_by_hand(loss, scores, targets):
    if isinstance(loss, Pearson):
        return pearson_by_hand(scores, targets)
    if isinstance(loss, RankKL):
        value = rank_kl_by_hand(scores, targets, loss.temperature)
        return value / len(scores) if loss.reduction == "mean" else value
    return pro_by_hand(scores, targets, loss.temperature, normalize=loss.normalize)


@every_loss
@pytest.mark.parametrize("targets", [None, TIED], ids=["distinct", "tied"])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_formula_in_loops(loss, targets, seed):
    batch = ragged_batch(seed=seed, **({} if targets is None else {"targets": targets}))
    expected = by_hand(loss, own_scores(batch), nested(batch.targets))
    assert loss(batch).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@every_loss
@pytest.mark.parametrize("targets", [None, TIED], ids=["distinct", "tied"])
def test_gradients_are_right(loss, targets):
    changes = {} if targets is None else {"targets": targets}
    batch = ragged_batch(**changes)

    def value(queries, documents):
        return loss(ragged_batch(queries=queries, documents=documents, **changes))

    assert gradcheck(value, (batch.queries.requires_grad_(), batch.documents.requires_grad_()))


@pytest.mark.parametrize(
    ("loss", "scores", "targets", "expected"),
    [
        (Pearson(), (0.9, 0.2, 0.5), (1, 0, 0.6), 0.019391),
        (RankKL(temperature=1.0), (0.9, 0.2, 0.5), (1, 0, 0.6), 0.006414),
        (RankKL(temperature=1.0, reduction="mean"), (0.9, 0.2, 0.5), (1, 0, 0.6), 0.002138),
        (RankKL(), (0.9, 0.2, 0.5), (1, 0, 0.6), 0.000200),
        (PRO(temperature=1.0), (0.9, 0.2, 0.5), (1, 0, 0.6), 0.648459),
        (PRO(), (0.9, 0.2, 0.5), (1, 0, 0.6), 0.013479),
        (PRO(), (0.2, 0.9, 0.5), (1, 0, 0.6), 9.404099),
        (PRO(normalize=False), (0.2, 0.9, 0.5), (1, 0, 0.6), 9.404099),
        (PRO(), (0.9, 0.2, 0.5), (5, 0, 3), 0.013479),
    ],
    ids=str,
)
@pytest.mark.parametrize("scope", ["batch", "list"])
def test_worked_numbers(loss, scores, targets, expected, scope):
    batch = list_batch(scores, targets) if scope == "list" else sts_batch(scores, targets)
    assert loss.model_copy(update={"scope": scope})(batch).item() == pytest.approx(expected, abs=1e-6)


def test_worked_numbers_of_ties():
    assert ideal_by_hand([1, 0.5, 0.5, 0]) == [1, 0.5, 0.5, 0]
    targets = torch.tensor([[1, 0.5, 0.5, 0.0]])
    assert order._ideal(targets, torch.ones(1, 4, dtype=torch.bool)).tolist() == [[1, 0.5, 0.5, 0]]
    present = torch.tensor([[True, True, True, False], [True, False, False, False]])
    targets = torch.tensor([[-2.0, 3, -2, 0], [7, 0, 0, 0]])
    assert order._ideal(targets, present)[present].tolist() == [0.25, 1, 0.25, 0]


def test_worked_numbers_of_rank_targets():
    teacher = (torch.tensor(ideal_by_hand([1, 0, 0.6])) / 1.0).softmax(0)
    assert teacher.tolist() == pytest.approx([0.506480, 0.186324, 0.307196], abs=1e-6)


@pytest.mark.parametrize("loss", [Pearson(), RankKL(), PRO(), RankKL(reduction="mean")], ids=str)
def test_the_list_of_the_batch_does_not_depend_on_who_is_local(loss):
    batch = ragged_batch()
    for local in (range(1), range(1, 3)):
        assert loss(batch.changed(local=local)).item() == loss(batch).item()


@pytest.mark.parametrize("loss", [PRO(), PRO(scope="list")], ids=str)
@pytest.mark.parametrize("limit", [1, 9, 20, 60])
def test_blocks_of_comparisons_are_exact(loss, limit, monkeypatch):
    def results():
        batch = ragged_batch()
        batch.queries.requires_grad_()
        batch.documents.requires_grad_()
        value = loss(batch)
        return [value.detach(), *torch.autograd.grad(value, (batch.queries, batch.documents))]

    expected = results()
    monkeypatch.setattr(order, "LIMIT", limit)
    torch.testing.assert_close(results(), expected)
    blocks = list(order._blocks(4, 4))
    covered = torch.zeros(4, 4)
    for part in blocks:
        covered[part] += 1
        assert covered[part].numel() * 4 <= max(limit, 4)
    assert (covered == 1).all()


@every_loss
def test_equal_targets(loss):
    batch = ragged_batch(targets=Ragged(ragged_batch().targets.offsets, torch.full((11,), 0.1, dtype=torch.float64)))
    batch.queries.requires_grad_()
    value = loss(batch)
    value.backward()
    if isinstance(loss, RankKL):  # pulls the scores together
        assert torch.isfinite(batch.queries.grad).all()
    else:
        assert value.item() == 0
        assert (batch.queries.grad == 0).all()


@every_loss
def test_equal_scores(loss):
    queries = torch.eye(6, dtype=torch.float32)[[0, 0, 0, 0]].requires_grad_()
    documents = torch.eye(6, dtype=torch.float32)[[0] * 8].mul(0.1).requires_grad_()
    value = loss(ragged_batch(queries=queries, documents=documents))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(queries.grad).all()
    assert torch.isfinite(documents.grad).all()
    if loss == Pearson():
        assert value.item() == 1
        assert (queries.grad == 0).all()


@every_loss
def test_one_pair_has_no_order(loss):
    queries = torch.tensor([[1.0, 0.0]], requires_grad=True)
    one = Batch(
        queries,
        torch.tensor([[0.6, 0.8]]),
        torch.tensor([0]),
        torch.tensor([0]),
        Ragged.of([[0]]),
        Ragged.of([[]]),
        targets=Ragged.of([[0.7]], dtype=torch.float32),
    )
    value = loss(one)
    value.backward()
    assert value.item() == 0
    assert (queries.grad == 0).all()


def test_pearson_does_not_change_with_scale_and_shift_of_targets():
    batch = ragged_batch()
    other = ragged_batch(targets=Ragged(batch.targets.offsets, 1000 + 3 * batch.targets.values))
    assert Pearson()(other).item() == pytest.approx(Pearson()(batch).item(), rel=1e-9)


def test_needs_follow_the_scope():
    assert Pearson().needs == {"targets"}
    assert Pearson(scope="list").needs == {"targets", "negatives"}


@every_loss
def test_targets_must_be_there(loss):
    with pytest.raises(DataError, match="no teacher scores"):
        loss(ragged_batch(targets=None))


@every_loss
def test_targets_must_be_finite(loss):
    offsets = ragged_batch().targets.offsets
    with pytest.raises(DataError, match="not a finite number"):
        loss(ragged_batch(targets=Ragged(offsets, torch.full((11,), torch.nan))))


def test_targets_that_differ_by_rounding_are_not_blown_up():
    values = 0.5 + 1e-9 * torch.rand(11, dtype=torch.float64)
    assert PRO()(ragged_batch(targets=Ragged(ragged_batch().targets.offsets, values))).item() == 0


@pytest.mark.parametrize("wrong", [{"temperature": 0}, {"reduction": "batchmean"}, {"scope": "all"}])
def test_refuses_what_it_does_not_know(wrong):
    with pytest.raises(ValidationError):
        RankKL(**wrong)


@pytest.mark.parametrize("loss", [Pearson(), RankKL(reduction="mean"), PRO(normalize=False)], ids=str)
def test_equals_the_formula_on_a_large_list(loss):
    generator = torch.Generator().manual_seed(0)
    queries, documents = (normalize(torch.randn(200, 8, generator=generator).double(), dim=1) for _ in range(2))
    targets = torch.randint(6, (200,), generator=generator)
    batch = Batch(
        queries,
        documents,
        torch.arange(200),
        torch.arange(200),
        Ragged.of([[i] for i in range(200)]),
        Ragged.of([[] for _ in range(200)]),
        targets=Ragged(torch.arange(201), targets.double()),
    )
    expected = one_by_hand(loss, (queries * documents).sum(1).tolist(), targets.double().tolist())
    assert loss(batch).item() == pytest.approx(expected, rel=1e-9)


def sts_batch(scores, targets) -> Batch:
    """One pair a query."""
    documents = torch.tensor([[s, (1 - s * s) ** 0.5] for s in scores], dtype=torch.float64)
    count = len(scores)
    return Batch(
        torch.tensor([[1.0, 0.0]] * count, dtype=torch.float64),
        documents,
        torch.arange(count),
        torch.arange(count),
        Ragged.of([[i] for i in range(count)]),
        Ragged.of([[] for _ in range(count)]),
        targets=Ragged.of([[y] for y in targets], dtype=torch.float64),
    )


def list_batch(scores, targets) -> Batch:
    """One query with all the pairs."""
    documents = torch.tensor([[s, (1 - s * s) ** 0.5] for s in scores], dtype=torch.float64)
    return Batch(
        torch.tensor([[1.0, 0.0]], dtype=torch.float64),
        documents,
        torch.tensor([0]),
        torch.arange(len(scores)),
        Ragged.of([[0]]),
        Ragged.of([list(range(1, len(scores)))]),
        targets=Ragged.of([list(targets)], dtype=torch.float64),
    )
