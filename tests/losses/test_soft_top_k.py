import math

import pytest
import torch
from pydantic import ValidationError
from torch.autograd import gradcheck
from torch.nn.functional import logsigmoid

from embedkit.losses import SoftTopK, soft_top_k
from embedkit.losses.rules import Hardness
from tests.losses.batches import KNOWN, POSITIVES, SUSPECTS, ragged_batch
from tests.losses.test_decoupled import logits_batch
from tests.oracles.soft_top_k import gradient_by_hand, memberships_by_hand, soft_top_k_by_hand

OPTIONS = [{}, {"k": 2, "alpha": 1.0}, {"k": 1, "temperature": 0.3}, {"k": "positives"}, {"k": 6}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_formula_in_loops(options, seed):
    batch, loss = ragged_batch(seed=seed), SoftTopK(**options)
    assert loss(batch).item() == pytest.approx(by_hand(batch, loss), rel=1e-9)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradients_are_right(options):
    batch = ragged_batch()

    def value(queries, documents):
        return SoftTopK(**({"temperature": 0.5} | options))(ragged_batch(queries=queries, documents=documents))

    assert gradcheck(value, (batch.queries.requires_grad_(), batch.documents.requires_grad_()))


@pytest.mark.parametrize(
    ("alpha", "value", "gradient"),
    [
        (1.0, 0.337745, [-0.036861, -0.103131, 0.085640, 0.054352]),
        (2.0, 0.180925, [-0.017870, -0.140313, 0.128628, 0.029556]),
    ],
)
def test_worked_numbers(alpha, value, gradient):
    batch = logits_batch([2, 1, 0, -1], [0, 1])
    loss = SoftTopK(temperature=1.0, k=2, alpha=alpha)(batch)
    loss.backward()
    assert loss.item() == pytest.approx(value, abs=1e-6)
    assert batch.documents.grad[:, 0].tolist() == pytest.approx(gradient, abs=1e-6)
    assert gradient_by_hand([2, 1, 0, -1], [0, 1], 2, alpha) == pytest.approx(gradient, abs=1e-6)


def test_worked_numbers_that_are_not_symmetric():
    logits, memberships = [2, 0.3, 0, -1], (0.801960, 0.119055, 0.069048, 0.009938)
    for j, expected in enumerate(memberships):
        loss = SoftTopK(temperature=1.0, k=1)(logits_batch(logits, [j]))
        assert math.exp(-loss.item()) == pytest.approx(expected, abs=1e-6)
    assert memberships_by_hand(logits, 1, 2.0) == pytest.approx(memberships, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_saturated_memberships_have_the_value_and_gradient_of_the_limit(dtype):
    """t lies half-way between the second and the third; σ' is 0 everywhere in this precision."""
    batch = logits_batch([150, 99, -100, -150], [3], dtype=dtype)
    loss = SoftTopK(temperature=1.0, k=2)(batch)
    loss.backward()
    assert loss.item() == pytest.approx(2 * 149.5, rel=1e-6)
    assert batch.documents.grad[:, 0].tolist() == pytest.approx([0, 1, 1, -2], abs=1e-4)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("k", [1, 3, 49])
def test_single_precision_is_enough(k, scale):
    logits = (scale * torch.randn(50, generator=torch.Generator().manual_seed(k))).tolist()
    found = []
    for dtype in (torch.float32, torch.float64):
        batch = logits_batch(logits, [0, 1], dtype=dtype)
        loss = SoftTopK(temperature=1.0, k=k)(batch)
        loss.backward()
        found.append((loss.item(), batch.documents.grad[:, 0].tolist()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-4, abs=1e-6)
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("k", [1, 5])
def test_any_number_of_equal_documents(k):
    for size in (6, 100_000):
        loss = SoftTopK(k=k)(logits_batch([0.3] * size, [0]))
        assert loss.item() == pytest.approx(math.log(size / k), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_memberships_add_up_to_k_after_few_steps(dtype, monkeypatch):
    """Rows of all scales, with ties, outliers and gaps: both sides of k are equally full."""
    sums, calls = soft_top_k._log_sum, []
    monkeypatch.setattr(soft_top_k, "_log_sum", lambda *inputs: calls.append(0) or sums(*inputs))
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(300, 40, generator=generator, dtype=torch.float64)
    shapes = [numbers, numbers.sign(), numbers**5, numbers.round(), numbers + 100 * (numbers > 0.5)]
    for k in (1, 7, 20, 39):
        for shape in shapes:
            x = (shape * torch.logspace(-3, 4, 300, dtype=torch.float64)[:, None]).to(dtype)
            calls.clear()
            t = soft_top_k._shift(x, torch.full((300,), k)).double()
            assert len(calls) <= 2 * 8
            order = x.double().sort(1, descending=True).values
            missing = logsigmoid(-order[:, :k] - t[:, None]).logsumexp(1)
            taken = logsigmoid(order[:, k:] + t[:, None]).logsumexp(1)
            error = (missing - taken).abs() / order.abs().amax(1).clamp(min=1)
            assert error.max() < 16 * torch.finfo(dtype).eps


def test_blocks_of_rows_are_exact(monkeypatch):
    def results():
        batch = ragged_batch()
        value = SoftTopK(k=2)(batch.changed(queries=batch.queries.requires_grad_()))
        return [value.detach(), *torch.autograd.grad(value, batch.queries)]

    expected = results()
    for size in (1, 3 * 8):
        monkeypatch.setattr(soft_top_k, "CACHED", size)
        torch.testing.assert_close(results(), expected)


def test_of_too_few_documents_all_but_one_are_wanted():
    for k in (2, 3, 4, 100):
        loss = SoftTopK(temperature=1.0, k=k)(logits_batch([2, 1, 0], [1]))
        assert loss.item() == pytest.approx(-math.log(memberships_by_hand([2, 1, 0], 2, 2.0)[1]), rel=1e-9)


@pytest.mark.parametrize("k", [1, 2, 5, "positives"])
def test_a_query_without_negatives_has_no_loss(k):
    batch = logits_batch([0.3, 0.2], [0, 1])
    loss = SoftTopK(k=k)(batch)
    loss.backward()
    assert loss.item() == 0
    assert batch.documents.grad.tolist() == [[0, 0], [0, 0]]


def test_documents_that_may_be_relevant_take_no_part():
    batch = ragged_batch(known=torch.tensor([(i, 103) for i in range(4)]))  # column 5 has id 103
    batch.documents.requires_grad_()
    SoftTopK(k=2)(batch).backward()
    assert batch.documents.grad[5].abs().sum() == 0
    assert batch.documents.grad[6].abs().sum() > 0


def test_rules_change_the_logits_of_negatives():
    scores = [0.4, 0.3, 0.1]
    batch = logits_batch(scores, [0]).changed(rules=(Hardness(3.0),))
    expected = memberships_by_hand([0.4 / 0.1, *((1 / 0.1 + 3) * s for s in scores[1:])], 1, 2.0)[0]
    assert SoftTopK(temperature=0.1, k=1)(batch).item() == pytest.approx(-math.log(expected), rel=1e-9)


def test_low_temperature_asks_whether_it_is_among_the_k_best():
    scores = [0.9, 0.7, 0.4, 0.1]
    for k in (1, 2, 3):
        for j in range(4):
            loss = SoftTopK(temperature=0.001, k=k)(logits_batch(scores, [j])).item()
            assert (loss < 1e-6) == (j < k)


@pytest.mark.parametrize("k", [0, -1, "all"])
def test_refuses_a_k_below_one(k):
    with pytest.raises(ValidationError):
        SoftTopK(k=k)


def by_hand(batch, loss) -> float:
    return soft_top_k_by_hand(
        batch.queries.tolist(),
        batch.documents.tolist(),
        POSITIVES,
        KNOWN | SUSPECTS,
        loss.temperature,
        None if loss.k == "positives" else loss.k,
        loss.alpha,
    )
