import math

import pytest
import torch
from torch.autograd import gradcheck

from embedkit.losses import STAR, Batch, Guided, Ragged
from embedkit.losses.rules import Hardness
from tests.losses.batches import KNOWN, POSITIVES, SUSPECTS, ragged_batch
from tests.oracles import dot
from tests.oracles.star import star_by_hand
from tests.oracles.wrappers import guided_by_hand

OUT = KNOWN | SUSPECTS


def by_hand(batch: Batch, temperature: float, **options) -> float:
    return star_by_hand(batch.queries.tolist(), batch.documents.tolist(), POSITIVES, OUT, temperature, **options)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_formula_in_loops(temperature, seed):
    batch = ragged_batch(seed=seed)
    assert STAR(temperature=temperature)(batch).item() == pytest.approx(by_hand(batch, temperature), rel=1e-9)


def test_gradients_are_right():
    batch = ragged_batch()

    def value(queries, documents):
        return STAR(temperature=0.3)(ragged_batch(queries=queries, documents=documents))

    assert gradcheck(value, (batch.queries.requires_grad_(), batch.documents.requires_grad_()))


def test_worked_number():
    """Pooled by hand: query 0 has a random and a hard negative, query 1 two random ones and one hard negative."""
    scores = [[2.0, 1.0, 3.0], [0.5, 1.5, 1.0]]  # documents: positive of 0, positive of 1, hard negative of 0
    batch = Batch(
        torch.eye(2, dtype=torch.float64),
        torch.tensor(scores, dtype=torch.float64).T.contiguous(),
        torch.arange(2),
        torch.arange(3),
        Ragged.of([[0], [1]]),
        Ragged.of([[2], []]),
    )
    random = math.log(1 + math.exp(1 - 2)) + math.log(1 + math.exp(0.5 - 1.5))
    hard = math.log(1 + math.exp(3 - 2)) + math.log(1 + math.exp(1 - 1.5))
    assert STAR(temperature=1.0)(batch).item() == pytest.approx((random + hard) / (2 + 2), rel=1e-12)


def test_rules_weigh_negatives():
    batch = ragged_batch()
    q, d = batch.queries.tolist(), batch.documents.tolist()
    found = STAR(temperature=0.3)(batch.changed(rules=(Hardness(2.0),)))
    expected = by_hand(batch, 0.3, weight=lambda i, j: math.exp(2.0 * dot(q[i], d[j])))
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_a_guide_leaves_negatives_out():
    batch = ragged_batch()
    weight = guided_by_hand(*(part.tolist() for part in batch.guide), POSITIVES, 0.0, relative=False)
    expected = by_hand(batch, 0.3, weight=lambda i, j: weight("query_to_document", i, i, j))
    assert Guided(loss=STAR(temperature=0.3))(batch).item() == pytest.approx(expected, rel=1e-9)


def test_no_negatives_no_loss():
    batch = Batch(
        torch.ones(1, 2), torch.ones(1, 2), torch.arange(1), torch.arange(1), Ragged.of([[0]]), Ragged.of([[]])
    )
    assert STAR()(batch).item() == 0
