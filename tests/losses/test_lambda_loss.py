import pytest
import torch
from torch.autograd import gradcheck

from embedkit.losses import Batch, LambdaLoss, Ragged
from tests.losses.batches import NEGATIVES, POSITIVES, ragged_batch
from tests.oracles import dot
from tests.oracles.lambda_loss import lambda_by_hand


def list_batch(scores: list[float], relevant: list[bool]) -> Batch:
    """One query with these scores of documents."""
    places = range(len(scores))
    return Batch(
        torch.ones(1, 1, dtype=torch.float64),
        torch.tensor(scores, dtype=torch.float64)[:, None],
        torch.arange(1),
        torch.arange(len(scores)),
        Ragged.of([[i for i in places if relevant[i]]]),
        Ragged.of([[i for i in places if not relevant[i]]]),
        unit=False,
    )


def test_worked_number():
    """Scores 3, 2, 1 and the second relevant: pairs 1/2 · log(1 + e) and 1/6 · log(1 + e⁻¹)."""
    batch = list_batch([3, 2, 1], [False, True, False])
    assert LambdaLoss(temperature=1.0)(batch).item() == pytest.approx(0.354421, abs=1e-6)


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0}, {"cut": 2}, {"cut": 1}], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_formula_in_loops(options, seed):
    batch, loss = ragged_batch(seed=seed), LambdaLoss(**options)
    queries, documents = batch.queries.tolist(), batch.documents.tolist()
    losses = []
    for query, wanted, unwanted in zip(queries, POSITIVES, NEGATIVES, strict=True):
        scores = [dot(query, documents[j]) for j in wanted + unwanted]
        losses.append(
            lambda_by_hand(scores, [True] * len(wanted) + [False] * len(unwanted), loss.temperature, loss.cut)
        )
    assert loss(batch).item() == pytest.approx(sum(losses) / 4, rel=1e-9)


@pytest.mark.parametrize("cut", [None, 2])
def test_gradients_are_right(cut):
    batch = ragged_batch()

    def value(queries, documents):
        return LambdaLoss(temperature=0.3, cut=cut)(ragged_batch(queries=queries, documents=documents))

    assert gradcheck(value, (batch.queries.requires_grad_(), batch.documents.requires_grad_()))


def test_pairs_beyond_the_cut_have_no_loss():
    batch = list_batch([5, 4, 3, 2, 1], [False, False, False, True, False])
    whole, cut = LambdaLoss(temperature=1.0), LambdaLoss(temperature=1.0, cut=1)
    batch.documents.requires_grad_()
    cut(batch).backward()
    moved = batch.documents.grad[:, 0] != 0
    assert moved.tolist() == [True, False, False, True, False]
    assert cut(batch) > whole(batch)


def test_of_equal_scores_the_first_has_the_better_rank():
    """Else the weight of a pair would hang on how a sort breaks ties."""
    found = LambdaLoss(temperature=1.0)(list_batch([1, 1, 1], [True, False, False])).item()
    assert found == pytest.approx(lambda_by_hand([1, 1, 1], [True, False, False], 1.0), rel=1e-12)
    assert found == pytest.approx((1 / 2 + 2 / 3) * 0.693147 / 2, rel=1e-5)
