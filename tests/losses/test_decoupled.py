import pytest
import torch
from torch.autograd import gradcheck

from embedkit.losses import Batch, DecoupledSoftmax, InfoNCE, Ragged
from embedkit.losses.rules import Hardness
from tests.losses.batches import KNOWN, POSITIVES, SUSPECTS, ragged_batch
from tests.oracles.decoupled import decoupled_by_hand, multi_label_by_hand

OPTIONS = [{}, {"temperature": 0.3}, {"reduction": "sum"}]
WORKED = [2.0, 1.0, 0.5, -1.0]  # logits; the first two are positives


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_formula_in_loops(options, seed):
    batch, loss = ragged_batch(seed=seed), DecoupledSoftmax(**options)
    expected = decoupled_by_hand(
        batch.queries.tolist(),
        batch.documents.tolist(),
        POSITIVES,
        KNOWN | SUSPECTS,
        loss.temperature,
        mean=loss.reduction == "mean",
    )
    assert loss(batch).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradients_are_right(options):
    batch = ragged_batch()

    def value(queries, documents):
        return DecoupledSoftmax(**({"temperature": 0.5} | options))(ragged_batch(queries=queries, documents=documents))

    assert gradcheck(value, (batch.queries.requires_grad_(), batch.documents.requires_grad_()))


@pytest.mark.parametrize(("reduction", "expected"), [("mean", 0.398134), ("sum", 0.796268)])
def test_worked_numbers(reduction, expected):
    loss = DecoupledSoftmax(temperature=1.0, reduction=reduction)
    assert loss(logits_batch(WORKED, [0, 1])).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("positive", "expected"), [(0, 0.241311), (1, 0.554957)])
def test_worked_numbers_of_each_positive(positive, expected):
    batch = logits_batch([WORKED[positive], *WORKED[2:]], [0])
    assert DecoupledSoftmax(temperature=1.0)(batch).item() == pytest.approx(expected, abs=1e-6)


def test_a_good_positive_is_pulled_up_where_the_multi_label_softmax_pushes_it_down():
    decoupled, pull = value_and_gradient(DecoupledSoftmax(temperature=1.0, reduction="sum"))
    multi_label, push = value_and_gradient(InfoNCE(temperature=1.0, other_positives="negatives"))
    assert pull[:2] == pytest.approx([-0.214403, -0.425903], abs=1e-6)
    assert 2 * push[0] == pytest.approx(0.218920, abs=1e-6)  # infonce is the mean over the two positives
    assert decoupled == pytest.approx(0.796268, abs=1e-6)
    assert 2 * multi_label == pytest.approx(1.990364, abs=1e-6)
    assert 2 * multi_label == pytest.approx(multi_label_by_hand(WORKED, [0, 1]), rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_is_infonce_that_leaves_the_other_positives_out(seed):
    batch = ragged_batch(seed=seed)
    torch.testing.assert_close(DecoupledSoftmax(temperature=0.1)(batch), InfoNCE(temperature=0.1)(batch))


@pytest.mark.parametrize("other_positives", ["left_out", "negatives"])
def test_is_infonce_where_each_query_has_one_positive(other_positives):
    batch = ragged_batch(positives=Ragged.of([[0], [1], [3], [4]]), targets=None)
    for reduction in ("mean", "sum"):
        torch.testing.assert_close(
            DecoupledSoftmax(reduction=reduction)(batch), InfoNCE(other_positives=other_positives)(batch)
        )


def test_rules_weigh_its_negatives():
    batch = ragged_batch()
    torch.testing.assert_close(DecoupledSoftmax()(batch.changed(rules=(Hardness(3.0),))), InfoNCE(hardness=3.0)(batch))


@pytest.mark.parametrize("gap", [1e4, -1e4])
def test_far_apart_scores_have_a_finite_gradient(gap):
    batch = logits_batch([gap, 0.0], [0])
    loss = DecoupledSoftmax(temperature=1.0)(batch)
    loss.backward()
    assert loss.item() == pytest.approx(max(0.0, -gap))
    assert batch.documents.grad[:, 0].tolist() == pytest.approx([0.0, 0.0] if gap > 0 else [-1.0, 1.0])


def test_a_query_without_negatives_has_no_loss():
    batch = logits_batch([0.3, 0.2], [0, 1])
    loss = DecoupledSoftmax()(batch)
    loss.backward()
    assert loss.item() == 0
    assert batch.documents.grad.tolist() == [[0, 0], [0, 0]]


def value_and_gradient(loss) -> tuple[float, list[float]]:
    batch = logits_batch(WORKED, [0, 1])
    value = loss(batch)
    value.backward()
    return value.item(), batch.documents.grad[:, 0].tolist()


def logits_batch(logits: list[float], positives: list[int], *, dtype: torch.dtype = torch.float64) -> Batch:
    """One query whose scores are `logits`; the documents are a leaf, its gradients in the first column theirs."""
    scores = torch.tensor(logits, dtype=dtype)
    return Batch(
        torch.tensor([[1.0, 0.0]], dtype=dtype),
        torch.stack([scores, torch.zeros_like(scores)], dim=1).requires_grad_(),
        torch.tensor([0]),
        torch.arange(len(logits)),
        Ragged.of([positives]),
        Ragged.of([[j for j in range(len(logits)) if j not in positives]]),
        unit=False,
    )
