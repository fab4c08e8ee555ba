import math

import pytest
import torch
from pydantic import ValidationError
from torch.autograd import gradcheck

from embedkit.losses import CACR, Batch, Ragged
from embedkit.losses.rules import Hardness, SameClass
from tests.losses.batches import DOC_CLASSES, KNOWN, POSITIVES, QUERY_CLASSES, SUSPECTS, ragged_batch
from tests.oracles.cacr import cacr_by_hand

OUT = KNOWN | SUSPECTS | {(i, p) for i, row in enumerate(POSITIVES) for p in row}
ALL_NEGATIVES = [[j for j in range(8) if (i, j) not in OUT] for i in range(4)]
OPTIONS = [
    {},
    {"attraction": 3.0, "repulsion": 0.5},
    {"detach_weights": True},
    {"detach_weights": True, "attraction": 0.2, "repulsion": 4.0},
]


def by_hand(queries, documents, loss, **options):
    return cacr_by_hand(
        queries.tolist(), documents.tolist(), POSITIVES, ALL_NEGATIVES, loss.attraction, loss.repulsion, **options
    )


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("scale", [1.0, 1.7])
def test_equals_the_formula_in_loops(options, scale):
    batch = ragged_batch()
    batch = batch.changed(queries=batch.queries * scale, unit=False)
    assert CACR(**options)(batch).item() == pytest.approx(
        by_hand(batch.queries, batch.documents, CACR(**options)), rel=1e-9
    )


def test_rules_weigh_and_leave_out_negatives():
    batch = ragged_batch()

    def weight(i, j):
        same = QUERY_CLASSES[i] >= 0 and QUERY_CLASSES[i] == DOC_CLASSES[j]
        return 0.0 if same else math.exp(2.0 * float(batch.queries[i] @ batch.documents[j]))

    expected = by_hand(batch.queries, batch.documents, CACR(), weight=weight)
    ruled = batch.changed(rules=(Hardness(2.0), SameClass()))
    assert CACR()(ruled).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("options", [o for o in OPTIONS if "detach_weights" not in o], ids=str)
def test_gradients_are_right(options):
    batch = ragged_batch()

    def value(queries, documents):
        return CACR(**options)(ragged_batch(queries=queries, documents=documents))

    assert gradcheck(value, (batch.queries.requires_grad_(), batch.documents.requires_grad_()))


@pytest.mark.parametrize("options", [o for o in OPTIONS if "detach_weights" in o], ids=str)
def test_no_gradient_goes_through_detached_weights(options):
    batch = ragged_batch()
    loss = CACR(**options)
    batch.queries.requires_grad_()
    batch.documents.requires_grad_()
    loss(batch).backward()
    fixed = batch.queries.tolist(), batch.documents.tolist()
    for side, where in [(0, (0, 0)), (0, (1, 3)), (0, (3, 5)), (1, (0, 2)), (1, (5, 1))]:
        ends = []
        for step in (1e-6, -1e-6):
            moved = [batch.queries.detach().clone(), batch.documents.detach().clone()]
            moved[side][where] += step
            ends.append(by_hand(*moved, loss, stopped=fixed))
        grad = (batch.queries, batch.documents)[side].grad[where].item()
        assert grad == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-7)


def test_worked_numbers():
    """Positives of cosines 0.5 and 0.1: weights 0.310026, 0.689974; negatives 0.4, −0.2: 0.768525, 0.231475."""
    assert CACR()(cosine_batch([0.5, 0.1], [])).item() == pytest.approx(1.551980, abs=1e-6)
    both = CACR()(cosine_batch([0.5, 0.1], [0.4, -0.2])).item()
    assert both == pytest.approx(1.551980 - 1.477770, abs=1e-6)
    batch = cosine_batch([0.5, 0.1], [0.4, -0.2])
    batch.documents.requires_grad_()
    CACR(detach_weights=True)(batch).backward()
    # of w |q − d|² by d with w fixed: 2 w (d − q), whose second entry is 2 w sin
    weights = batch.documents.grad[:, 1] / (2 * batch.documents.detach()[:, 1])
    assert weights.tolist() == pytest.approx([0.310026, 0.689974, -0.768525, -0.231475], abs=1e-6)


def test_one_positive_has_weight_one():
    for strength in (0.1, 10.0):
        assert CACR(attraction=strength)(cosine_batch([0.5], [])).item() == pytest.approx(1.0)


@pytest.mark.parametrize("detach_weights", [False, True])
def test_a_query_without_negatives_has_no_repulsion(detach_weights):
    known = torch.tensor([(q, d) for q in range(4) for d in range(100, 108)])
    batch = ragged_batch(known=known)
    batch.documents.requires_grad_()
    loss = CACR(detach_weights=detach_weights)
    value = loss(batch)
    value.backward()
    expected = cacr_by_hand(batch.queries.tolist(), batch.documents.tolist(), POSITIVES, [[]] * 4, 1.0, 1.0)
    assert value.item() == pytest.approx(expected, rel=1e-9)
    assert torch.isfinite(batch.documents.grad).all()
    assert (batch.documents.grad[7] == 0).all()  # nobody's positive


@pytest.mark.parametrize("wrong", [{"attraction": 0}, {"repulsion": -1}])
def test_strengths_are_positive(wrong):
    with pytest.raises(ValidationError):
        CACR(**wrong)


def cosine_batch(positives, negatives) -> Batch:
    cosines = torch.tensor([*positives, *negatives], dtype=torch.float64)
    count = len(positives)
    return Batch(
        torch.tensor([[1.0, 0.0]], dtype=torch.float64),
        torch.stack([cosines, (1 - cosines.square()).sqrt()], dim=1),
        torch.tensor([0]),
        torch.arange(len(cosines)),
        Ragged.of([list(range(count))]),
        Ragged.of([list(range(count, len(cosines)))]),
    )
