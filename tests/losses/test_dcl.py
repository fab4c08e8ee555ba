import itertools
import math

import pytest
import torch
from pydantic import ValidationError
from torch.autograd import gradcheck
from torch.nn.functional import normalize

from embedkit.losses import DCL, DCLW, Batch, Ragged
from embedkit.losses.rules import Hardness
from tests.losses.batches import KNOWN, NEGATIVES, POSITIVES, SUSPECTS, ragged_batch
from tests.oracles.dcl import dcl_by_hand, weights_by_hand

DIRECTIONS = ("query_to_document", "query_to_query", "document_to_query", "document_to_document")
SUBSETS = [subset for n in range(1, 5) for subset in itertools.combinations(DIRECTIONS, n)]


def by_hand(queries, documents, loss, weights=None) -> float:
    """The oracle with the options of `loss`."""
    return dcl_by_hand(
        queries.tolist(),
        documents.tolist(),
        POSITIVES,
        NEGATIVES,
        KNOWN | SUSPECTS,
        loss.temperature,
        loss.directions,
        weights=weights,
    )


def weights_of(batch, sigma=0.5) -> list[list[float]]:
    return weights_by_hand(batch.queries.tolist(), batch.documents.tolist(), POSITIVES, sigma)


@pytest.mark.parametrize("directions", SUBSETS, ids=str)
def test_equals_the_formula_in_loops(directions):
    batch, loss = ragged_batch(), DCL(directions=directions)
    assert loss(batch).item() == pytest.approx(by_hand(batch.queries, batch.documents, loss), rel=1e-9)


@pytest.mark.parametrize("options", [{}, {"sigma": 0.1}, {"directions": DIRECTIONS}, {"temperature": 0.3}], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_the_weighted_form_equals_the_formula_in_loops(options, seed):
    batch, loss = ragged_batch(seed=seed), DCLW(**options)
    expected = by_hand(batch.queries, batch.documents, loss, weights_of(batch, loss.sigma))
    assert loss(batch).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("loss", [DCL(), DCL(directions=DIRECTIONS), DCLW(), DCLW(directions=DIRECTIONS)], ids=str)
def test_gradients_are_right(loss):
    batch = ragged_batch()

    def value(queries, documents):
        return loss(ragged_batch(queries=queries, documents=documents))

    assert gradcheck(value, (batch.queries.requires_grad_(), batch.documents.requires_grad_()))


def test_no_gradient_goes_through_fixed_weights():
    batch, loss = ragged_batch(), DCLW(weight_detach=True)
    batch.queries.requires_grad_()
    loss(batch).backward()
    weights = weights_of(batch)
    for where in [(0, 0), (1, 3), (3, 5)]:
        ends = []
        for step in (1e-6, -1e-6):
            moved = batch.queries.detach().clone()
            moved[where] += step
            ends.append(by_hand(moved, batch.documents, loss, weights))
        assert batch.queries.grad[where].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-6)


def test_worked_number():
    """One query, candidates with cosines 0.8, 0.5, 0.3, temperature 0.1."""
    assert DCL()(scores_batch([[0.8, 0.5, 0.3]])).item() == pytest.approx(-2.873072, abs=1e-6)


def test_worked_numbers_of_the_weights():
    """Positives at 0.9 and 0.5."""
    batch = scores_batch([[0.9, 0.1], [0.5, 0.2]])
    for row, (score, expected) in enumerate([(0.9, 0.620051), (0.5, 1.379949)]):
        part = batch.changed(local=range(row, row + 1))
        weight = 1 - (DCLW()(part) - DCL()(part)).item() * 0.1 / score
        assert weight == pytest.approx(expected, abs=1e-6)


def test_weights_are_1_where_positives_score_the_same():
    batch = scores_batch([[0.6, 0.1], [0.6, 0.2]])
    torch.testing.assert_close(DCLW()(batch), DCL()(batch))


def test_is_the_loss_of_two_views():
    """One side of the public code: pairs of views, all others of both views are negatives."""
    generator = torch.Generator().manual_seed(0)
    first, second = (normalize(torch.randn(5, 8, generator=generator, dtype=torch.float64), dim=1) for _ in range(2))
    positive = (first * second).sum(1)
    own = torch.eye(5, dtype=torch.bool)
    others = torch.cat([(first @ v.T / 0.1).masked_fill(own, -torch.inf) for v in (first, second)], dim=1)
    weights = 2 - 5 * (positive / 0.5).softmax(0)
    one_each = Ragged.of([[i] for i in range(5)])
    batch = Batch(first, second, torch.arange(5), torch.arange(5), one_each, Ragged.of([[]] * 5))
    views = ("query_to_document", "query_to_query")
    torch.testing.assert_close(DCL(directions=views)(batch), (others.logsumexp(1) - positive / 0.1).mean())
    torch.testing.assert_close(DCLW(directions=views)(batch), (others.logsumexp(1) - weights * positive / 0.1).mean())


def test_the_pull_of_a_positive_does_not_depend_on_how_good_it_is():
    for score in (0.1, 0.9):
        batch = scores_batch([[score, 0.0]])
        batch.documents.requires_grad_()
        DCL()(batch).backward()
        assert batch.documents.grad[0, 0].item() == pytest.approx(-10)


@pytest.mark.parametrize("loss", [DCL(), DCLW(), DCL(directions=DIRECTIONS), DCLW(directions=DIRECTIONS)], ids=str)
def test_a_query_without_negatives_has_no_loss(loss):
    batch = scores_batch([[0.3]])
    batch.documents.requires_grad_()
    value = loss(batch)
    value.backward()
    assert value.item() == 0
    assert batch.documents.grad.tolist() == [[0, 0]]


@pytest.mark.parametrize("directions", list(itertools.combinations(DIRECTIONS, 2)), ids=str)
@pytest.mark.parametrize("kind", [DCL, DCLW])
def test_one_direction_may_have_no_negative_where_another_has(kind, directions):
    """Every document is known to query 1, and 0 to every query: query 0 has no query as a negative, 1 no document."""
    known = {(1, j) for j in range(8)} | {(i, 0) for i in range(4)}
    ids = [100, 107, 106, 105, 104, 103, 102, 101]
    batch = ragged_batch(known=torch.tensor([(i, ids[j]) for i, j in sorted(known)]))
    batch.queries.requires_grad_()
    loss = kind(directions=directions)
    value = loss(batch)
    value.backward()
    expected = dcl_by_hand(
        batch.queries.tolist(),
        batch.documents.tolist(),
        POSITIVES,
        NEGATIVES,
        known | SUSPECTS,
        loss.temperature,
        directions,
        weights=weights_of(batch) if kind is DCLW else None,
    )
    assert value.item() == pytest.approx(expected, rel=1e-9)
    assert torch.isfinite(batch.queries.grad).all()


def test_rules_weigh_its_negatives():
    batch = scores_batch([[0.8, 0.5, 0.3]]).changed(rules=(Hardness(3.0),))
    expected = math.log(math.exp(0.5 * 13) + math.exp(0.3 * 13)) - 8
    assert DCL()(batch).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("directions", [(), ("query_to_document", "query_to_document"), ("q",)])
@pytest.mark.parametrize("loss", [DCL, DCLW])
def test_refuses_no_direction_one_twice_or_an_unknown_one(loss, directions):
    with pytest.raises(ValidationError):
        loss(directions=directions)


def test_the_order_of_directions_is_not_part_of_the_value():
    assert DCL(directions=DIRECTIONS) == DCL(directions=DIRECTIONS[::-1])


def scores_batch(scores: list[list[float]]) -> Batch:
    """Queries at right angles; each has its own positive and negatives at these scores, the others' are at 0."""
    queries = torch.eye(len(scores) + 1, dtype=torch.float64)[: len(scores)]
    documents = [score * query for query, row in zip(queries, scores, strict=True) for score in row]
    starts = [sum(map(len, scores[:i])) for i in range(len(scores))]
    return Batch(
        queries,
        torch.stack(documents),
        torch.arange(len(scores)),
        torch.arange(len(documents)),
        Ragged.of([[start] for start in starts]),
        Ragged.of([list(range(start + 1, start + len(row))) for start, row in zip(starts, scores, strict=True)]),
        unit=False,
    )
