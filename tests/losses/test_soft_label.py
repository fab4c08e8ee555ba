import pytest
import torch
from torch.autograd import gradcheck

from embedkit.core.errors import DataError
from embedkit.losses import InfoNCE, Ragged, SoftLabelInfoNCE
from tests.losses.batches import nested, own_scores, ragged_batch
from tests.losses.test_infonce import worked_batch
from tests.oracles import entropy_by_hand, infonce_by_hand, soft_cross_entropy_by_hand

DIRECTIONS = ("query_to_document", "query_to_query", "document_to_query", "document_to_document")


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_equals_the_formula_in_loops(alpha):
    batch = ragged_batch()
    hard = InfoNCE(temperature=0.2)
    loss = SoftLabelInfoNCE(hard=hard, alpha=alpha, temperature=0.07, teacher_temperature=0.3)
    soft = soft_cross_entropy_by_hand(own_scores(batch), nested(batch.targets), 0.07, 0.3)
    expected = (1 - alpha) * hard(batch).item() + alpha * soft
    assert loss(batch).item() == pytest.approx(expected, rel=1e-9)
    kl = soft - entropy_by_hand(nested(batch.targets), 0.3)
    changed = loss.model_copy(update={"divergence": "forward_kl"})
    assert changed(batch).item() == pytest.approx((1 - alpha) * hard(batch).item() + alpha * kl, rel=1e-9)


def test_mined_negatives_can_be_kept_out_of_the_hard_term():
    batch = ragged_batch()
    loss = SoftLabelInfoNCE(hard=InfoNCE(temperature=0.2, directions=DIRECTIONS), hard_negatives=False, alpha=0.4)
    relevant = sorted({*batch.positives.values.tolist(), *(c for c in range(8) if 100 < batch.doc_ids[c] < 103)})
    assert 0 < len(relevant) < 8
    place = {column: i for i, column in enumerate(relevant)}
    known = {(q, place[c]) for q, d in batch.known.tolist() for c in relevant if batch.doc_ids[c] == d}
    documents = batch.documents[relevant].tolist()
    positives = [[place[c] for c in row] for row in nested(batch.positives)]
    hard = infonce_by_hand(batch.queries.tolist(), documents, positives, [[]] * 4, known, 0.2, DIRECTIONS)
    soft = soft_cross_entropy_by_hand(own_scores(batch), nested(batch.targets), 0.05, 0.1)
    assert loss(batch).item() == pytest.approx(0.6 * hard + 0.4 * soft, rel=1e-9)
    assert loss(batch).item() != pytest.approx(loss.model_copy(update={"hard_negatives": True})(batch).item())


@pytest.mark.parametrize(
    ("teacher_temperature", "cross_entropy", "kl"), [(0.1, 0.413965, 0.046043), (0.2, 0.917213, 0.272411)]
)
def test_worked_numbers(teacher_temperature, cross_entropy, kl):
    loss = SoftLabelInfoNCE(alpha=1, temperature=0.1, teacher_temperature=teacher_temperature)
    assert loss(worked_batch()).item() == pytest.approx(cross_entropy, abs=2e-6)
    changed = loss.model_copy(update={"divergence": "forward_kl"})
    assert changed(worked_batch()).item() == pytest.approx(kl, abs=2e-6)


def test_gradients_are_right():
    batch = ragged_batch()
    loss = SoftLabelInfoNCE(hard=InfoNCE(temperature=0.5), alpha=0.4, temperature=0.5)

    def value(queries, documents):
        return loss(ragged_batch(queries=queries, documents=documents))

    assert gradcheck(value, (batch.queries.requires_grad_(), batch.documents.requires_grad_()))


def test_cross_entropy_and_kl_have_one_gradient():
    gradients = []
    for divergence in ("cross_entropy", "forward_kl"):
        queries = ragged_batch().queries.requires_grad_()
        SoftLabelInfoNCE(divergence=divergence)(ragged_batch(queries=queries)).backward()
        gradients.append(queries.grad)
    torch.testing.assert_close(*gradients)


def test_a_sharp_teacher_is_the_hard_loss_over_the_own_list():
    batch = worked_batch(targets=Ragged.of([[1.0, 0.0, 0.0]], dtype=torch.float64))
    loss = SoftLabelInfoNCE(alpha=1, temperature=0.1, teacher_temperature=1e-3)
    assert loss(batch).item() == pytest.approx(InfoNCE(temperature=0.1)(batch).item(), rel=1e-9)


def test_needs_targets():
    with pytest.raises(DataError, match="teacher scores"):
        SoftLabelInfoNCE()(ragged_batch(targets=None))
