import math

import pytest
import torch
from pydantic import ValidationError
from torch.autograd import gradcheck
from torch.nn.functional import normalize

from embedkit.losses import UNPG, Batch, Ragged, unpg
from embedkit.losses.rules import Hardness, SameClass
from tests.losses.batches import DOC_CLASSES, KNOWN, POSITIVES, QUERY_CLASSES, SUSPECTS, ragged_batch
from tests.oracles.unpg import unpg_by_hand, window_by_hand

OUT = KNOWN | SUSPECTS | {(i, p) for i, row in enumerate(POSITIVES) for p in row}
ALL_NEGATIVES = [[j for j in range(8) if (i, j) not in OUT] for i in range(4)]
WORKED = [-0.2, 0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.95]
every_window = pytest.mark.parametrize("whiskers", [None, 0.0, 0.3, 1.0])


def by_hand(batch, loss, negatives=ALL_NEGATIVES, **options):
    return unpg_by_hand(
        batch.queries.tolist(),
        batch.documents.tolist(),
        POSITIVES,
        negatives,
        loss.temperature,
        loss.whiskers,
        **options,
    )


@every_window
@pytest.mark.parametrize("tile", [None, 1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_formula_in_loops(whiskers, tile, seed):
    batch = ragged_batch(seed=seed, tile=tile)
    loss = UNPG(temperature=0.07, whiskers=whiskers)
    assert loss(batch).item() == pytest.approx(by_hand(batch, loss), rel=1e-9)


@every_window
def test_rules_weigh_and_leave_out_negatives(whiskers):
    batch = ragged_batch()
    loss = UNPG(temperature=0.3, whiskers=whiskers)

    def weight(i, j):
        return math.exp(2.0 * float(batch.queries[i] @ batch.documents[j]))

    def same(i, j):
        return QUERY_CLASSES[i] >= 0 and QUERY_CLASSES[i] == DOC_CLASSES[j]

    left = [[j for j in row if not same(i, j)] for i, row in enumerate(ALL_NEGATIVES)]
    expected = by_hand(batch, loss, negatives=left, weight=weight)
    ruled = batch.changed(rules=(Hardness(2.0), SameClass()))
    assert loss(ruled).item() == pytest.approx(expected, rel=1e-9)
    assert loss(ruled.changed(tile=1)).item() == pytest.approx(expected, rel=1e-9)


@every_window
@pytest.mark.parametrize("tile", [None, 2])
def test_gradients_are_right(whiskers, tile):
    batch = ragged_batch()

    def value(queries, documents):
        return UNPG(temperature=0.5, whiskers=whiskers)(ragged_batch(queries=queries, documents=documents, tile=tile))

    assert gradcheck(value, (batch.queries.requires_grad_(), batch.documents.requires_grad_()))


def test_worked_numbers_of_the_window():
    low, high = window_by_hand(WORKED, 1.0)
    assert [s for s in WORKED if low <= s <= high] == [0, 0.1, 0.15, 0.2, 0.25, 0.3]
    batch = scores_batch(0.5, WORKED)
    window = UNPG(temperature=1.0)._window(batch, 1.0)
    assert (window.low, window.high) == pytest.approx((-0.1, 0.5), abs=1e-9)
    kept = sum(math.exp(s) for s in WORKED[1:-1])
    expected = -math.log(math.exp(0.5) / (math.exp(0.5) + kept))
    assert UNPG(temperature=1.0)(batch).item() == pytest.approx(expected, rel=1e-9)
    everything = sum(math.exp(s) for s in WORKED)
    expected = -math.log(math.exp(0.5) / (math.exp(0.5) + everything))
    assert UNPG(temperature=1.0, whiskers=None)(batch).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tiles_and_scans_of_any_size_are_exact_on_a_larger_batch(dtype, monkeypatch):
    generator = torch.Generator().manual_seed(5)

    def results(tile):
        queries, documents = (
            normalize(torch.randn(n, 8, generator=generator.manual_seed(n)), dim=1).to(dtype).requires_grad_()
            for n in (40, 60)
        )
        batch = Batch(
            queries,
            documents,
            torch.arange(40),
            torch.arange(60),
            Ragged.of([[i] for i in range(40)]),
            Ragged.of([[i + 20] for i in range(40)]),
            tile=tile,
            local=range(10, 30),
        )
        value = UNPG()(batch)
        return [value.detach(), *torch.autograd.grad(value, (queries, documents))]

    expected = results(None)
    torch.testing.assert_close(results(7), expected)
    monkeypatch.setattr(unpg, "SCANNED", 100)
    torch.testing.assert_close(results(16), expected)


def test_equal_scores_are_no_outliers():
    batch = scores_batch(0.5, [0.3] * 5)
    expected = -math.log(math.exp(0.5) / (math.exp(0.5) + 5 * math.exp(0.3)))
    for whiskers in (0.0, 1.0):
        assert UNPG(temperature=1.0, whiskers=whiskers)(batch).item() == pytest.approx(expected, rel=1e-9)


def test_scores_that_differ_by_rounding_are_no_outliers():
    """All vectors at right angles, in another basis: scores are 0 but for the rounding of the products."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(64, 64, generator=generator)).Q
    queries, documents = (
        normalize(torch.randn(20, 32, generator=generator) @ half, dim=1) for half in (basis[:32], basis[32:])
    )
    each = Ragged.of([[i] for i in range(20)])
    batch = Batch(queries, documents, torch.arange(20), torch.arange(20), each, Ragged.of([[]] * 20))
    value = UNPG(temperature=1.0, whiskers=0.0)(batch)
    assert value.item() == pytest.approx(math.log(1 + 20 * 19), rel=1e-6)


@every_window
@pytest.mark.parametrize("tile", [None, 1])
def test_without_any_negative_it_is_zero_and_in_the_graph(whiskers, tile):
    known = torch.tensor([(q, d) for q in range(4) for d in range(100, 108)])
    batch = ragged_batch(known=known, tile=tile)
    batch.queries.requires_grad_()
    batch.documents.requires_grad_()
    value = UNPG(whiskers=whiskers)(batch)
    value.backward()
    assert value.item() == 0
    assert (batch.queries.grad == 0).all()
    assert (batch.documents.grad == 0).all()


@pytest.mark.parametrize("tile", [None, 1])
def test_a_query_without_negatives_meets_those_of_the_others(tile):
    loss = UNPG(temperature=0.2)
    batch = ragged_batch(known=torch.tensor([(1, d) for d in range(100, 108)]), tile=tile)
    out = OUT - KNOWN
    left = [[j for j in range(8) if (i, j) not in out and i != 1] for i in range(4)]
    assert loss(batch).item() == pytest.approx(by_hand(batch, loss, negatives=left), rel=1e-9)


@pytest.mark.parametrize("wrong", [{"whiskers": -0.1}, {"temperature": 0}])
def test_refuses_windows_inside_out(wrong):
    with pytest.raises(ValidationError):
        UNPG(**wrong)


def scores_batch(positive, negatives) -> Batch:
    """One query with these scores."""
    scores = torch.tensor([positive, *negatives], dtype=torch.float64)
    return Batch(
        torch.tensor([[1.0, 0.0]], dtype=torch.float64),
        torch.stack([scores, torch.zeros_like(scores)], dim=1),
        torch.tensor([0]),
        torch.arange(len(scores)),
        Ragged.of([[0]]),
        Ragged.of([list(range(1, len(scores)))]),
    )
