import math

import pytest
import torch
from pydantic import ValidationError
from torch.autograd import gradcheck
from torch.nn.functional import normalize

from embedkit.core.errors import DataError
from embedkit.losses import Batch, InfoNCE, Ragged, SoftLabelInfoNCE, Taught
from tests.losses.batches import KNOWN, NEGATIVES, POSITIVES, SUSPECTS, TAUGHT, nested, ragged_batch
from tests.losses.test_infonce import columns_batch, worked_batch
from tests.oracles.infonce import infonce_by_hand
from tests.oracles.soft_label import divergence_by_hand, soft_labels_by_hand, targets_by_hand

DIRECTIONS = ("query_to_document", "query_to_query", "document_to_query", "document_to_document")
DIVERGENCES = ("cross_entropy", "forward_kl", "reverse_kl", "symmetric_kl", "js")
FINITE = ("cross_entropy", "forward_kl", "js")  # also where a target is 0
every_divergence = pytest.mark.parametrize("divergence", DIVERGENCES)

OPTIONS = [
    *({"divergence": d} for d in DIVERGENCES),
    *({"divergence": d, "targets": "linear"} for d in DIVERGENCES),
    *({"divergence": d, "in_batch_targets": True, "normalization": "z_score"} for d in DIVERGENCES),
    *({"divergence": d, "in_batch_negatives": True} for d in FINITE),
    *({"divergence": d, "in_batch_negatives": True, "in_batch_targets": True} for d in FINITE),
    {"normalization": "min_max"},
    {"normalization": "z_score"},
    {"normalization": "min_max", "targets": "linear", "divergence": "js"},
    {"normalization": "min_max", "targets": "linear", "in_batch_targets": True, "in_batch_negatives": True},
]


def by_hand(batch, loss):
    """The soft part of `loss`."""
    out = KNOWN | SUSPECTS | {(i, p) for i, row in enumerate(POSITIVES) for p in row}
    lists = []
    for i, targets in enumerate(nested(batch.targets)):
        taught = {j: score for (row, j), score in TAUGHT.items() if row == i} if loss.in_batch_targets else {}
        lists.append(taught | dict(zip(POSITIVES[i] + NEGATIVES[i], targets, strict=True)))
    pushed = [{j for j in range(8) if (i, j) not in out} for i in range(4)]
    return soft_labels_by_hand(
        (batch.queries @ batch.documents.T).tolist(),
        lists,
        loss.temperature,
        loss.teacher_temperature,
        loss.divergence,
        targets=loss.targets,
        normalization=loss.normalization,
        pushed=pushed if loss.in_batch_negatives else None,
    )


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_equals_the_formula_in_loops(options):
    batch = ragged_batch()
    loss = SoftLabelInfoNCE(alpha=1, temperature=0.07, teacher_temperature=0.3, **options)
    assert loss(batch).item() == pytest.approx(by_hand(batch, loss), rel=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_blends_with_the_hard_loss(alpha):
    batch = ragged_batch()
    loss = SoftLabelInfoNCE(hard=InfoNCE(temperature=0.2), alpha=alpha)
    expected = (1 - alpha) * loss.hard(batch).item() + alpha * by_hand(batch, loss)
    assert loss(batch).item() == pytest.approx(expected, rel=1e-9)


def test_mined_negatives_can_be_kept_out_of_the_hard_term():
    batch = ragged_batch(suspects=torch.empty(0, 2, dtype=torch.int64))
    loss = SoftLabelInfoNCE(hard=InfoNCE(temperature=0.2, directions=DIRECTIONS), hard_negatives=False, alpha=0.4)
    relevant = sorted({*batch.positives.values.tolist(), *(j for _, j in KNOWN)})
    assert 0 < len(relevant) < 8
    place = {column: i for i, column in enumerate(relevant)}
    known = {(i, place[j]) for i, j in KNOWN}
    documents = batch.documents[relevant].tolist()
    positives = [[place[j] for j in row] for row in POSITIVES]
    hard = infonce_by_hand(batch.queries.tolist(), documents, positives, [[]] * 4, known, 0.2, DIRECTIONS)
    assert loss(batch).item() == pytest.approx(0.6 * hard + 0.4 * by_hand(batch, loss), rel=1e-9)
    assert loss(batch).item() != pytest.approx(loss.model_copy(update={"hard_negatives": True})(batch).item())


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradients_are_right(options):
    batch = ragged_batch()
    loss = SoftLabelInfoNCE(hard=InfoNCE(temperature=0.5), alpha=0.4, temperature=0.5, **options)

    def value(queries, documents):
        return loss(ragged_batch(queries=queries, documents=documents))

    assert gradcheck(value, (batch.queries.requires_grad_(), batch.documents.requires_grad_()))


@pytest.mark.parametrize("hard_negatives", [True, False])
@pytest.mark.parametrize("tile", [1, 3])
def test_tiles_of_the_whole_batch_average_to_it(hard_negatives, tile):
    loss = SoftLabelInfoNCE(in_batch_targets=True, in_batch_negatives=True, hard_negatives=hard_negatives)
    gradients = []
    for changes in ({}, {"tile": tile}):
        batch = ragged_batch()
        embeddings = batch.queries.requires_grad_(), batch.documents.requires_grad_()
        gradients.append(torch.autograd.grad(loss(batch.changed(**changes)), embeddings))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("teacher_temperature", "cross_entropy", "forward_kl"), [(0.1, 0.413965, 0.046043), (0.2, 0.917213, 0.272411)]
)
def test_worked_numbers(teacher_temperature, cross_entropy, forward_kl):
    loss = SoftLabelInfoNCE(alpha=1, temperature=0.1, teacher_temperature=teacher_temperature)
    assert loss(worked_batch()).item() == pytest.approx(cross_entropy, abs=1e-6)
    changed = loss.model_copy(update={"divergence": "forward_kl"})
    assert changed(worked_batch()).item() == pytest.approx(forward_kl, abs=1e-6)


@pytest.mark.parametrize(
    ("divergence", "expected"), [("reverse_kl", 0.044247), ("symmetric_kl", 0.045145), ("js", 0.010371)]
)
def test_worked_numbers_of_both_sides(divergence, expected):
    loss = SoftLabelInfoNCE(alpha=1, temperature=0.1, teacher_temperature=0.1, divergence=divergence)
    assert loss(worked_batch()).item() == pytest.approx(expected, abs=1e-6)


@every_divergence
def test_worked_numbers_of_linear_targets(divergence):
    """Of the scores 0.9, 0.7, 0.1: 9/17, 7/17, 1/17."""
    targets = targets_by_hand([0.9, 0.7, 0.1], "linear", 1.0, "none")
    assert targets == pytest.approx([9 / 17, 7 / 17, 1 / 17])
    expected = divergence_by_hand(targets, targets_by_hand([0.8, 0.5, 0.3], "softmax", 0.1, "none"), divergence)
    loss = SoftLabelInfoNCE(alpha=1, temperature=0.1, targets="linear", divergence=divergence)
    assert loss(worked_batch()).item() == pytest.approx(expected, rel=1e-9)


def test_forward_kl_is_that_of_sentence_transformers():
    """Which multiplies by the square of the student's temperature."""
    from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss

    generator = torch.Generator().manual_seed(3)
    queries, *columns = (normalize(torch.randn(5, 8, generator=generator), dim=1) for _ in range(5))
    scores = torch.rand(5, 4, generator=generator)
    theirs = DistillKLDivLoss(None, student_temperature=0.2, teacher_temperature=0.3)
    expected = theirs.compute_loss_from_embeddings([queries, *columns], scores).item()
    batch = columns_batch(queries, columns).changed(targets=Ragged.of(scores.tolist(), dtype=torch.float32))
    ours = SoftLabelInfoNCE(alpha=1, temperature=0.2, teacher_temperature=0.3, divergence="forward_kl")
    assert 0.2**2 * ours(batch).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("in_batch", [False, True])
def test_cross_entropy_and_forward_kl_have_one_gradient(in_batch):
    gradients = []
    for divergence in ("cross_entropy", "forward_kl"):
        queries = ragged_batch().queries.requires_grad_()
        loss = SoftLabelInfoNCE(divergence=divergence, in_batch_targets=in_batch, in_batch_negatives=in_batch)
        loss(ragged_batch(queries=queries)).backward()
        gradients.append(queries.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("seed", range(5))
def test_js_is_at_most_log_two_and_below_symmetric_kl(seed):
    batch = ragged_batch(seed=seed)
    values = {d: only(d, temperature=0.02)(batch).item() for d in DIVERGENCES}
    assert 0 < values["js"] <= math.log(2)
    assert values["js"] < values["symmetric_kl"]
    assert values["symmetric_kl"] == pytest.approx((values["forward_kl"] + values["reverse_kl"]) / 2)


@every_divergence
def test_a_student_that_agrees_is_left_alone(divergence):
    batch = worked_batch(targets=Ragged.of([[1.8, 1.5, 1.3]], dtype=torch.float64))  # the student's scores + 1
    batch.queries.requires_grad_()
    value = only(divergence, temperature=0.1, teacher_temperature=0.1)(batch)
    value.backward()
    assert batch.queries.grad.abs().max() < 1e-12
    assert divergence == "cross_entropy" or abs(value.item()) < 1e-12


def test_a_sharp_teacher_is_the_hard_loss_over_the_own_list():
    batch = worked_batch(targets=Ragged.of([[1.0, 0.0, 0.0]], dtype=torch.float64))
    loss = only("cross_entropy", temperature=0.1, teacher_temperature=1e-3)
    assert loss(batch).item() == pytest.approx(InfoNCE(temperature=0.1)(batch).item(), rel=1e-9)


@pytest.mark.parametrize("divergence", ["cross_entropy", "forward_kl"])
def test_a_sharp_teacher_is_the_hard_loss_over_the_batch(divergence):
    """Own negatives are in the denominator once, though they are in the list and in the batch."""
    generator = torch.Generator().manual_seed(0)
    queries, *columns = (normalize(torch.randn(5, 8, generator=generator).double(), dim=1) for _ in range(4))
    targets = Ragged.of([[1.0, 0.0, 0.0]] * 5, dtype=torch.float64)
    batch = columns_batch(queries, columns).changed(targets=targets)
    loss = only(divergence, targets="linear", in_batch_negatives=True)
    assert loss(batch).item() == pytest.approx(InfoNCE()(batch).item(), rel=1e-9)


def test_a_score_of_the_own_list_comes_before_one_from_elsewhere():
    loss = only("cross_entropy", in_batch_targets=True)
    nothing = Taught(torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64), torch.empty(0))
    again = Taught(torch.tensor([0, 0, 1]), torch.tensor([100, 103, 107]), torch.tensor([0.9, 0.9, 0.9]))
    assert nested(ragged_batch().own)[:2] == [[0, 5, 6], [1, 2, 7]]  # columns 0, 5 and 1 have ids 100, 103 and 107
    expected = SoftLabelInfoNCE(alpha=1)(ragged_batch())
    torch.testing.assert_close(loss(ragged_batch(taught=nothing)), expected)
    torch.testing.assert_close(loss(ragged_batch(taught=again)), expected)


@every_divergence
def test_a_shift_of_a_querys_teacher_scores_changes_nothing(divergence):
    loss = only(divergence)
    torch.testing.assert_close(loss(rescored(scale=1, shift=3)), loss(ragged_batch()))
    assert loss(rescored(scale=2, shift=0)) != loss(ragged_batch())


@pytest.mark.parametrize("normalization", ["min_max", "z_score"])
def test_normalised_scores_have_no_scale(normalization):
    loss = only("cross_entropy", normalization=normalization)
    torch.testing.assert_close(loss(rescored(scale=7, shift=-2)), loss(ragged_batch()))


CORNERS = [
    *((d, {}, target) for d in DIVERGENCES for target in ([50.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0])),
    *(
        (d, {"normalization": "z_score"}, target)
        for d in DIVERGENCES
        for target in ([50.0, 0.0, 0.0], [1.0] * 3, [1.0])
    ),
    *((d, {"targets": "linear"}, target) for d in DIVERGENCES for target in ([1.0, 1.0, 1.0], [1.0])),
    *((d, {"targets": "linear"}, [1.0, 0.0, 0.0]) for d in FINITE),
    *((d, {"in_batch_negatives": True}, target) for d in FINITE for target in ([50.0, 0.0, 0.0], [1.0])),
]


@pytest.mark.parametrize(("divergence", "options", "target"), CORNERS, ids=str)
@pytest.mark.parametrize("scale", [1, 1e4])
def test_finite_at_the_corners(divergence, options, target, scale):
    """One-hot and constant teachers, lists of one document, a saturated student."""
    batch = worked_batch(targets=Ragged.of([target]), negatives=Ragged.of([list(range(1, len(target)))]))
    queries, documents = ((scale * part).float().requires_grad_() for part in (batch.queries, batch.documents))
    loss = only(divergence, teacher_temperature=0.01, **options)
    value = loss(batch.changed(queries=queries, documents=documents))
    gradients = torch.autograd.grad(value, (queries, documents))
    assert all(torch.isfinite(part).all() for part in (value, *gradients))
    assert len(target) > 1 or options.get("in_batch_negatives") or value == 0


@pytest.mark.parametrize(
    ("normalization", "targets"), [("min_max", "softmax"), ("min_max", "linear"), ("z_score", "softmax")]
)
def test_a_constant_list_is_an_even_target(normalization, targets):
    even = only("cross_entropy", targets="linear")(worked_batch(targets=Ragged.of([[1.0] * 3], dtype=torch.float64)))
    for scores in ([-0.3] * 3, [0.3, 0.3 + 1e-8, 0.3]):
        batch = worked_batch(targets=Ragged.of([scores], dtype=torch.float64))
        loss = only("cross_entropy", targets=targets, normalization=normalization)
        torch.testing.assert_close(loss(batch), even)


def test_needs_what_the_hard_loss_needs_too():
    assert SoftLabelInfoNCE().needs == {"targets", "negatives"}
    assert SoftLabelInfoNCE(hard=InfoNCE(mask_classes=True)).needs == {"targets", "negatives", "classes"}


def test_refuses_teacher_scores_without_meaning():
    with pytest.raises(DataError, match="teacher scores"):
        SoftLabelInfoNCE()(ragged_batch(targets=None))
    with pytest.raises(DataError, match="in_batch_targets needs them"):
        SoftLabelInfoNCE(in_batch_targets=True)(ragged_batch(taught=None))
    for wrong in ([0.5, -0.1, 0.5], [0.0, 0.0, 0.0]):
        with pytest.raises(DataError, match="linear targets need"):
            only("js", targets="linear")(worked_batch(targets=Ragged.of([wrong], dtype=torch.float64)))
    with pytest.raises(DataError, match="not a finite number"):
        SoftLabelInfoNCE()(worked_batch(targets=Ragged.of([[0.5, math.nan, 0.5]], dtype=torch.float64)))
    with pytest.raises(DataError, match="infinite"):
        only("symmetric_kl", targets="linear")(worked_batch(targets=Ragged.of([[0.5, 0, 0]], dtype=torch.float64)))


@pytest.mark.parametrize(
    "options",
    [
        {"targets": "linear", "normalization": "z_score"},
        {"divergence": "symmetric_kl", "in_batch_negatives": True},
        {"divergence": "reverse_kl", "targets": "linear", "normalization": "min_max"},
    ],
    ids=str,
)
def test_refuses_options_that_could_not_be_finite(options):
    with pytest.raises(ValidationError, match="0"):
        SoftLabelInfoNCE(**options)


def only(divergence, **options) -> SoftLabelInfoNCE:
    """Without the hard term."""
    return SoftLabelInfoNCE(alpha=1, divergence=divergence, **options)


def rescored(*, scale: float, shift: float) -> Batch:
    """With other teacher scores: `shift` times 1, 2, 3 and 4 added to those of each query."""
    batch = ragged_batch()
    values = scale * batch.targets.values + shift * (batch.targets.rows + 1)
    return batch.changed(targets=Ragged(batch.targets.offsets, values))
