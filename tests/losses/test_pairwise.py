import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import logsigmoid

from embedkit.losses import pairwise
from embedkit.losses.pairwise import pair_sums
from tests.oracles.mann_whitney import softplus_sum_by_hand

RELATIVE, EACH_PAIR = 1e-10, 1e-17  # the bound that `pair_sums` states

EVALUATIONS = ["pairs", "fast"]
SPREADS = [1e-9, 1e-3, 0.3, 1.0, 20.0, 300.0, 3e3]


@pytest.mark.parametrize("evaluation", EVALUATIONS)
@pytest.mark.parametrize("spread", SPREADS)
def test_equals_the_formula_in_loops(evaluation, spread):
    positive, negative = logits(7, 30, spread)
    expected = softplus_sum_by_hand(positive.tolist(), negative.tolist())
    assert pair_sums(positive, negative, evaluation).value.item() == pytest.approx(expected, rel=1e-10)


@settings(deadline=None)
@given(
    seed=st.integers(0, 10_000),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 60)),
    spread=st.floats(-9, 4).map(lambda exponent: 10**exponent),
    centre=st.sampled_from([0.0, -1e3, 70.0]),
    shift=st.floats(-200, 200),
    ties=st.booleans(),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    absent=st.booleans(),
)
def test_fast_equals_pairs(seed, sizes, spread, centre, shift, ties, dtype, absent):
    positive, negative = logits(*sizes, spread, seed=seed)
    if ties:
        positive, negative = ((x / spread * 3).round() * spread / 3 for x in (positive, negative))
    positive, negative = (positive + centre).to(dtype), (negative + centre + shift).to(dtype)
    if absent:
        negative[::3] = -torch.inf
    check(positive, negative)


@pytest.mark.parametrize("positive", [0.0, 0.25, -0.13])
def test_every_distance_of_a_pair(positive):
    check(torch.tensor([positive], dtype=torch.float64), torch.linspace(-45, 120, 20_001, dtype=torch.float64))
    check(torch.linspace(-45, 120, 20_001, dtype=torch.float64), torch.tensor([positive], dtype=torch.float64))


@pytest.mark.parametrize(("sizes", "evaluation"), [((300, 700), "pairs"), ((5, 70_000), "fast"), ((70_000, 5), "fast")])
def test_more_logits_than_one_block(sizes, evaluation):
    check(*logits(*sizes, 3.0), evaluation)


def test_more_cells_than_are_convolved_at_once():
    positive, negative = logits(50, 400, 500.0)
    assert positive.aminmax().max - positive.min() > 512
    check(positive, negative)


def test_a_spread_too_large_for_cells_falls_back_to_pairs():
    check(*logits(5, 9, 1e9))


@pytest.mark.parametrize(("number", "evaluation"), [(1 << 16, "pairs"), (1 << 18, "fast")])
def test_float32_sums_do_not_lose_small_terms(number, evaluation):
    """In float32, a sum of more than 2²⁴ equal terms stops growing."""
    sums = pair_sums(torch.zeros(1 << 9), torch.zeros(number), evaluation)
    assert sums.value.item() == pytest.approx((number << 9) * math.log(2), rel=1e-7)
    assert sums.to_positive[0].item() == -number / 2


@pytest.mark.parametrize("evaluation", EVALUATIONS)
def test_absent_negatives_count_nothing(evaluation):
    positive, negative = logits(4, 5, 2.0)
    absent = torch.full((3,), -torch.inf, dtype=torch.float64)
    some = pair_sums(positive, torch.cat([negative, absent]), evaluation)
    expected = pair_sums(positive, negative, evaluation)
    torch.testing.assert_close(some.value, expected.value)
    torch.testing.assert_close(some.to_positive, expected.to_positive)
    assert some.to_negative[5:].tolist() == [0, 0, 0]
    none = pair_sums(positive, absent, evaluation)
    assert [none.value.item(), *none.to_positive.tolist()] == [0] * 5


@pytest.mark.parametrize("evaluation", ["auto", *EVALUATIONS])
@pytest.mark.parametrize("sizes", [(0, 4), (4, 0)])
def test_nothing_to_compare_is_zero(evaluation, sizes):
    sums = pair_sums(*logits(*sizes, 1.0), evaluation)
    assert [sums.value, *sums.to_positive, *sums.to_negative] == [0] * 5


@pytest.mark.parametrize("evaluation", EVALUATIONS)
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_a_number_that_is_none_shows(evaluation, wrong):
    positive, negative = logits(3, 4, 1.0)
    negative[1] = wrong
    assert not torch.isfinite(pair_sums(positive, negative, evaluation).value)


@pytest.mark.parametrize(("size", "scale", "fast"), [(50, 1.0, False), (3000, 1.0, True), (3000, 1e4, False)])
def test_auto_takes_cells_for_many_pairs_of_moderate_spread(monkeypatch, size, scale, fast):
    taken = []
    by_cells, by_pairs = pairwise._by_cells, pairwise._by_pairs
    monkeypatch.setattr(pairwise, "_by_cells", lambda *rest: taken.append("cells") or by_cells(*rest))
    monkeypatch.setattr(pairwise, "_by_pairs", lambda *rest: taken.append("pairs") or by_pairs(*rest))
    pair_sums(*(x.float() * scale for x in logits(size, size, 1.0)))
    assert taken == ["cells" if fast else "pairs"]


def logits(number: int, others: int, spread: float, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(n, generator=generator, dtype=torch.float64) * spread for n in (number, others))


def check(positive: torch.Tensor, negative: torch.Tensor, evaluation: str = "fast") -> None:
    """Value and gradients are within the bound of a computation in float64 on the whole matrix."""
    gaps = negative.double() - positive.double()[:, None]
    value, *slopes = pair_sums(positive, negative, evaluation)
    rounding = RELATIVE if positive.dtype == torch.float64 else 1e-7

    def close(found, expected, pairs, relative):
        torch.testing.assert_close(found.double(), expected, rtol=relative, atol=EACH_PAIR * pairs)

    close(value, -logsigmoid(-gaps).sum(), gaps.numel(), RELATIVE if evaluation == "fast" else rounding)
    close(slopes[0], -gaps.sigmoid().sum(1), gaps.shape[1], rounding)
    close(slopes[1], gaps.sigmoid().sum(0), gaps.shape[0], rounding)
