import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from embedkit.measures.randomization import randomize_average, randomize_items, randomize_means
from embedkit.measures.statistics import ranks, value


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def systems(n: int, seed: int, noise: float = 1.3, kind: str = "spearman"):
    generator = rng(seed)
    t = generator.normal(size=n)
    if kind == "average_precision":
        t = (t > 0.5).astype(float)
    return t + generator.normal(size=n), t + noise * generator.normal(size=n), t


@pytest.mark.parametrize("name", ["spearman", "average_precision", "pearson"])
def test_swapping_items_is_scipys_permutation_of_samples_on_one_scale(name):
    a, b, t = systems(60, 1, kind=name)
    scaled = (a, b) if name != "pearson" else ((a - a.mean()) / a.std(), (b - b.mean()) / b.std())
    if name != "pearson":
        scaled = (ranks(a), ranks(b))
    theirs = stats.permutation_test(
        scaled,
        lambda x, y: value(name, x, t) - value(name, y, t),
        permutation_type="samples",
        vectorized=False,
        n_resamples=1500,
        rng=rng(3),
    )
    found = randomize_items(name, a, b, t, samples=6000, rng=rng())
    assert found.difference == pytest.approx(theirs.statistic)
    assert found.difference == pytest.approx(value(name, a, t) - value(name, b, t))
    assert found.p == pytest.approx(theirs.pvalue, abs=0.045)
    assert found.values.std() == pytest.approx(theirs.null_distribution.std(), rel=0.08)


@pytest.mark.parametrize("name", ["spearman", "average_precision"])
def test_scale_of_a_system_does_not_matter_to_statistics_of_ranks(name):
    a, b, t = systems(70, 2, kind=name)
    one = randomize_items(name, a, b, t, samples=500, rng=rng())
    other = randomize_items(name, np.exp(a), 1000 + b**3, t, samples=500, rng=rng())
    assert other.p == one.p
    assert other.values == pytest.approx(one.values)


def test_scale_and_place_of_a_system_do_not_matter_to_pearson():
    a, b, t = systems(70, 2)
    one = randomize_items("pearson", a, b, t, samples=500, rng=rng())
    assert randomize_items("pearson", 100 + 5 * a, b / 9, t, samples=500, rng=rng()).p == one.p


@given(st.integers(0, 1000))
def test_swapping_the_arguments_turns_the_difference_round(seed):
    a, b, t = systems(25, seed)
    there = randomize_items("spearman", a, b, t, samples=99, rng=rng(seed))
    back = randomize_items("spearman", b, a, t, samples=99, rng=rng(seed))
    assert there.difference == pytest.approx(-back.difference)
    assert there.p == back.p
    assert 0 < there.p <= 1


def test_the_mean_over_tasks_flips_the_signs_of_all_queries():
    """Of two tasks, the same as one test of all queries, each weighed by its task's size."""
    x, y = rng(1).normal(0.1, 1, 30), rng(2).normal(0.1, 1, 50)
    parts = [randomize_means(d, samples=20_000, rng=rng(i)) for i, d in enumerate((x, y))]
    found = randomize_average(parts, [0.5, 0.5])
    both = np.concatenate([x * 40 / 30, y * 40 / 50])
    assert found.difference == pytest.approx(both.mean())
    assert found.p == pytest.approx(randomize_means(both, samples=20_000, rng=rng(9)).p, abs=0.015)


def test_parts_with_the_same_units_are_swapped_on_a_unit_together():
    rows = [rng(i).normal(0.1, 1, 40) for i in (1, 2)]
    found = randomize_average([randomize_means(row, samples=500, rng=rng(3)) for row in rows], [0.5, 0.5])
    slow = randomize_means(np.mean(rows, axis=0), samples=500, rng=rng(3))
    assert found.values == pytest.approx(slow.values)
    assert found.p == slow.p


def test_the_coins_that_flip_a_sign_swap_an_item():
    """So that parts of both kinds can be swapped together; the correlation of centred items is nearly a mean."""
    a, b, t = systems(400, 3)
    swapped = randomize_items("pearson", a, b, t, samples=300, rng=rng(4)).values
    (x, y, z) = ((one - one.mean()) / one.std() for one in (a, b, t))
    flipped = randomize_means((x - y) * z, samples=300, rng=rng(4)).values
    assert np.corrcoef(swapped, flipped)[0, 1] > 0.8


def test_equal_systems_and_undefined_ones():
    t = rng(0).normal(size=30)
    assert randomize_items("spearman", t**3, t, t, samples=100, rng=rng()).p == 1.0
    assert randomize_items("pearson", np.ones(30), t, t, samples=100, rng=rng()) is None
    assert randomize_items("average_precision", t, t, np.zeros(30), samples=100, rng=rng()) is None
    assert randomize_means(np.zeros(5), samples=100, rng=rng()).p == 1.0
