import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from embedkit.core.spec import identity
from embedkit.losses import Batch, InfoNCE, Ragged, mann_whitney
from embedkit.losses.blocks import Block
from embedkit.losses.kernels import product
from embedkit.losses.mann_whitney import MannWhitney
from embedkit.losses.rules import Hardness, SameClass
from tests.losses.batches import DOC_CLASSES, KNOWN, POSITIVES, QUERY_CLASSES, SUSPECTS, ragged_batch
from tests.oracles.mann_whitney import area_over_curve_by_hand, mann_whitney_by_hand

EXCLUDED = KNOWN | SUSPECTS | {(i, p) for i, row in enumerate(POSITIVES) for p in row}
RULES = {
    "none": (),
    "hardness": (Hardness(3.0),),
    "classes": (SameClass(),),
    "both": (Hardness(3.0, "own"), SameClass()),
}
every_rule = pytest.mark.parametrize("rules", RULES.values(), ids=RULES)


@pytest.mark.parametrize("evaluation", ["auto", "pairs", "fast"])
@pytest.mark.parametrize("reduction", ["mean", "sum_negatives"])
@pytest.mark.parametrize("temperature", [0.01, 0.3])
def test_equals_the_formula_in_loops(temperature, reduction, evaluation):
    loss = MannWhitney(temperature=temperature, reduction=reduction, evaluation=evaluation)
    expected = by_hand(ragged_batch(), temperature, mean=reduction == "mean")
    assert loss(ragged_batch()).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("classes", [False, True])
@pytest.mark.parametrize("strength", [0.0, 3.0])
def test_rules_weigh_and_leave_out_negatives(strength, classes):
    batch = ragged_batch()
    scores = batch.queries @ batch.documents.T
    same = [[classes and a == b and a >= 0 for b in DOC_CLASSES] for a in QUERY_CLASSES]
    weights = [[math.exp(strength * s) * (not same[k][n]) for n, s in enumerate(row)] for k, row in enumerate(scores)]
    rules = (Hardness(strength), *((SameClass(),) if classes else ()))
    expected = by_hand(batch, 0.1, weights=weights)
    assert MannWhitney(temperature=0.1)(batch.changed(rules=rules)).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("reduction", ["mean", "sum_negatives"])
@pytest.mark.parametrize("rules", [(), (SameClass(),)], ids=["none", "classes"])
def test_gradients_are_right(reduction, rules):
    batch = ragged_batch()

    def value(queries, documents):
        loss = MannWhitney(temperature=0.3, reduction=reduction)
        return loss(ragged_batch(queries=queries, documents=documents, rules=rules))

    assert gradcheck(value, (batch.queries.requires_grad_(), batch.documents.requires_grad_()))


@every_rule
@pytest.mark.parametrize("reduction", ["mean", "sum_negatives"])
def test_shares_of_the_queries_and_tiles_make_up_the_whole(rules, reduction):
    loss = MannWhitney(temperature=0.1, reduction=reduction)
    whole = value_and_gradients(loss, [range(4)], rules=rules)
    for split in ([range(1), range(1, 4)], [range(2), range(2, 4)], [range(i, i + 1) for i in range(4)]):
        for tile in (None, 1, 2, 3):
            torch.testing.assert_close(value_and_gradients(loss, split, rules=rules, tile=tile), whole)


@pytest.mark.parametrize(("temperature", "mean", "total"), [(0.1, 0.497093, 0.994186), (1.0, 0.646886, 1.293773)])
def test_worked_numbers(temperature, mean, total):
    batch = scored_batch([[0.8, 0.7], [0.5, 0.6]])
    assert MannWhitney(temperature=temperature)(batch).item() == pytest.approx(mean, abs=1e-6)
    loss = MannWhitney(temperature=temperature, reduction="sum_negatives")
    assert loss(batch).item() == pytest.approx(total, abs=1e-6)


def test_worked_numbers_of_a_shift_of_one_query():
    """InfoNCE does not see it, Mann-Whitney does, as does the area."""
    before, after = scored_batch([[0.8, 0.7], [0.5, 0.6]]), scored_batch([[0.8, 0.7], [0.65, 0.75]])
    loss = MannWhitney(temperature=0.1)
    assert [InfoNCE(temperature=0.1)(b).item() for b in (before, after)] == pytest.approx([0.313262] * 2, abs=1e-6)
    assert loss(after).item() == pytest.approx(0.325503, abs=1e-6)
    assert 1 - area_over_curve_by_hand(*both_sides(before)) == 0.75
    assert 1 - area_over_curve_by_hand(*both_sides(after)) == 1
    assert loss(before).item() / math.log(2) == pytest.approx(0.717154, abs=1e-6)


@settings(deadline=None)
@given(
    scores=st.integers(2, 6).flatmap(
        lambda n: st.lists(
            st.lists(st.integers(-8, 8).map(lambda tenth: tenth / 8), min_size=n, max_size=n), min_size=n, max_size=n
        )
    ),
    temperature=st.floats(-3, 1).map(lambda exponent: 10**exponent),
)
def test_bounds_the_area_over_the_curve(scores, temperature):
    batch = scored_batch(scores)
    area = area_over_curve_by_hand(*both_sides(batch))  # scores are eighths, so that ties are many and exact
    assert area <= MannWhitney(temperature=temperature)(batch).item() / math.log(2) * (1 + 1e-9)


@settings(deadline=None)
@given(constant=st.floats(-5, 5), seed=st.integers(0, 100))
def test_a_constant_added_to_all_scores_changes_nothing(constant, seed):
    batch = ragged_batch(seed=seed)
    shifted = batch.changed(
        queries=torch.cat([batch.queries, torch.ones(4, 1)], dim=1),
        documents=torch.cat([batch.documents, torch.full((8, 1), constant)], dim=1),
    )
    torch.testing.assert_close(MannWhitney()(shifted), MannWhitney()(batch))


def test_low_temperature_leaves_the_mean_of_what_negatives_are_above_by():
    positive, negative = both_sides(ragged_batch(), EXCLUDED)
    expected = sum(max(0.0, n - p) for p in positive for n in negative) / len(positive) / len(negative)
    assert 1e-4 * MannWhitney(temperature=1e-4)(ragged_batch()).item() == pytest.approx(expected, rel=1e-3)


@every_rule
def test_the_sum_is_the_mean_times_the_number_of_negatives(rules):
    batch = ragged_batch(rules=rules)
    number = 4 * 8 - len(EXCLUDED)
    if any(isinstance(rule, SameClass) for rule in rules):
        number -= sum(
            a == b >= 0 and (k, n) not in EXCLUDED
            for k, a in enumerate(QUERY_CLASSES)
            for n, b in enumerate(DOC_CLASSES)
        )
    total = MannWhitney(reduction="sum_negatives")(batch)
    torch.testing.assert_close(total, MannWhitney()(batch) * number)


@pytest.mark.parametrize("rules", [(), (SameClass(),)], ids=["none", "classes"])
@pytest.mark.parametrize("tile", [None, 3])
def test_zero_with_gradients_without_any_negative(rules, tile):
    known = torch.tensor([(q, d) for q in range(4) for d in range(100, 108)])
    batch = ragged_batch(known=known, rules=rules, tile=tile)
    batch.queries.requires_grad_()
    batch.documents.requires_grad_()
    value = MannWhitney()(batch)
    value.backward()
    assert value == 0
    assert batch.queries.grad.abs().sum() == 0
    assert batch.documents.grad.abs().sum() == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    half = ragged_batch(dtype=dtype)
    exact = half.changed(queries=half.queries.double(), documents=half.documents.double())
    value = MannWhitney()(half)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(MannWhitney()(exact).item(), rel=1e-5)


@pytest.mark.parametrize("evaluation", ["pairs", "fast"])
def test_saturated_pairs_are_finite(evaluation):
    batch = ragged_batch(dtype=torch.float32)
    batch.queries.requires_grad_()
    value = MannWhitney(temperature=1e-4, evaluation=evaluation)(batch)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(batch.queries.grad).all()
    assert batch.queries.grad.abs().sum() > 0


@pytest.mark.parametrize(("local", "scored"), [(range(4), 2), (range(2), 1)])
def test_scores_are_made_once_and_gradients_if_wanted(local, scored, monkeypatch):
    """Rules leave out an unknown number of negatives, which is counted on the way where all queries are local."""
    made = []
    monkeypatch.setattr(mann_whitney, "product", lambda *parts: made.append("product") or product(*parts))
    monkeypatch.setattr(Block, "logits", lambda *_: made.append("logits") or torch.zeros(2, 8))
    batch = ragged_batch(rules=(SameClass(),), tile=2, local=local)
    MannWhitney()(batch)
    assert made.count("product") == scored
    assert made.count("logits") == (0 if local == range(4) else 2)
    made.clear()
    MannWhitney()(batch.changed(queries=batch.queries.requires_grad_()))
    assert made.count("product") == 2 * scored


def test_how_it_is_evaluated_is_not_part_of_its_identity():
    one, other = (identity(MannWhitney(evaluation=how), keys={}, digests={}) for how in ("pairs", "fast"))
    assert one == other


def by_hand(batch: Batch, temperature: float, **options) -> float:
    parts = batch.queries.tolist(), batch.documents.tolist(), POSITIVES, EXCLUDED
    return mann_whitney_by_hand(*parts, temperature, **options)


def value_and_gradients(loss: MannWhitney, split: list[range], **changes) -> list[torch.Tensor]:
    """The average over the ranges of queries, weighted by their lengths."""
    batch = ragged_batch(**changes)
    queries, documents = batch.queries.requires_grad_(), batch.documents.requires_grad_()
    value = sum(loss(batch.changed(local=part)) * len(part) for part in split) / 4
    return [value.detach(), *torch.autograd.grad(value, (queries, documents))]


def scored_batch(scores: list[list[float]]) -> Batch:
    """As many documents as queries, the i-th relevant to the i-th, with these scores."""
    number = len(scores)
    return Batch(
        torch.eye(number, dtype=torch.float64),
        torch.tensor(scores, dtype=torch.float64).T.contiguous(),
        torch.arange(number),
        torch.arange(number),
        Ragged.of([[i] for i in range(number)]),
        Ragged.of([[] for _ in range(number)]),
    )


def both_sides(batch: Batch, excluded: set[tuple[int, int]] | None = None) -> tuple[list[float], list[float]]:
    """Scores of all positives and of all negatives."""
    scores = (batch.queries @ batch.documents.T).tolist()
    positive = [(i, p) for i, p in zip(batch.positives.rows.tolist(), batch.positives.values.tolist(), strict=True)]
    out = excluded or set(positive)
    negative = [s for i, row in enumerate(scores) for j, s in enumerate(row) if (i, j) not in out]
    return [scores[i][p] for i, p in positive], negative
