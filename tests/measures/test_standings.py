"""Many systems at once: intervals, differences and ranks."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from embedkit.core.errors import DataError
from embedkit.measures.significance import paired_bootstrap
from embedkit.measures.standings import average, p_values, ranks, resample_items, resample_means, samples_for

SAMPLES = 4000


def rng(seed=0):
    return np.random.default_rng(seed)


def systems(*means, n=200, spread=0.05, seed=1):
    draw = rng(seed)
    hard = draw.normal(0, 0.3, n)
    return np.stack([mean + hard + draw.normal(0, spread, n) for mean in means])


def test_scores_and_differences_are_those_of_the_units():
    values = systems(0.4, 0.5, 0.45)
    found = resample_means(values, samples=SAMPLES, rng=rng())
    assert found.scores == pytest.approx(values.mean(axis=1))
    assert found.difference(1, 0).difference == pytest.approx((values[1] - values[0]).mean())
    low, high = found.one(2).interval(0.95)
    half = 1.96 * values[2].std(ddof=1) / np.sqrt(200)
    assert (low, high) == pytest.approx((values[2].mean() - half, values[2].mean() + half), abs=half / 10)


def test_a_difference_is_paired():
    values = systems(0.40, 0.42, spread=0.02)
    found = resample_means(values, samples=SAMPLES, rng=rng()).difference(1, 0)
    alone = paired_bootstrap(values[1], values[0], samples=SAMPLES)
    low, high = found.interval(0.95)
    assert (low, high) == pytest.approx((alone.low, alone.high), abs=0.001)
    assert found.p < 0.001
    assert high - low < 0.02  # each alone is known to 0.04 only


def test_resamples_are_those_of_plain_loops():
    values = systems(0.1, 0.2, n=7)
    found = resample_means(values, samples=5, rng=rng(3))
    draw = rng(3).integers(0, 7, (5, 7))
    slow = [[np.mean([values[m, i] for i in row]) for row in draw] for m in range(2)]
    assert found.values == pytest.approx(np.array(slow))


def test_items_give_the_statistic_of_every_resample():
    draw = rng(4)
    targets = draw.normal(size=30)
    predictions = [targets + draw.normal(size=30), draw.normal(size=30).round(1)]
    found = resample_items("spearman", predictions, targets, samples=4, rng=rng(5))
    rows = rng(5).integers(0, 30, (4, 30))
    slow = [[spearmanr(one[row], targets[row]).statistic for row in rows] for one in predictions]
    assert found.values == pytest.approx(np.array(slow))
    assert found.scores == pytest.approx([spearmanr(one, targets).statistic for one in predictions])


def test_the_average_of_tasks_adds_their_variances():
    first, second = systems(0.4, 0.5, n=100), systems(0.6, 0.5, n=400, seed=2)
    parts = [resample_means(values, samples=SAMPLES, rng=rng(i)) for i, values in enumerate((first, second))]
    found = average(parts, [0.5, 0.5])
    assert found.scores == pytest.approx((first.mean(axis=1) + second.mean(axis=1)) / 2)
    expected = 0.25 * (np.var(first[0], ddof=1) / 100 + np.var(second[0], ddof=1) / 400)
    assert np.var(found.values[0]) == pytest.approx(expected, rel=0.1)
    assert [n for n, _ in found.strata] == [100, 400]


def test_parts_with_the_same_units_are_drawn_together():
    rows = [systems(0.4, 0.5, n=100), systems(0.4, 0.5, n=100, seed=2)]
    shared = np.random.default_rng(3).normal(0, 0.3, (2, 100))
    parts = [resample_means(values + shared, samples=SAMPLES, rng=rng(4)) for values in rows]
    found = average(parts, [0.5, 0.5], ["translations"] * 2)
    slow = resample_means(np.mean(rows, axis=0) + shared, samples=SAMPLES, rng=rng(4))
    assert found.values == pytest.approx(slow.values)
    assert found.difference(1, 0).standard_error == pytest.approx(slow.difference(1, 0).standard_error)
    assert [n for n, _ in found.strata] == [100]


def test_ranks_count_who_is_told_to_be_better():
    found = resample_means(systems(0.5, 0.5, 0.4, 0.3), samples=SAMPLES, rng=rng())
    assert ranks(4, p_values(found), 0.95) == [1, 1, 3, 4]


def test_not_told_apart_does_not_carry_over():
    p = {(0, 1): 0.3, (1, 2): 0.3, (0, 2): 0.001}
    assert ranks(3, p, 0.95) == [1, 1, 2]


def test_equal_systems_share_the_first_rank():
    values = systems(0.5)
    found = resample_means(np.repeat(values, 3, axis=0), samples=200, rng=rng())
    assert set(p_values(found).values()) == {1.0}
    assert ranks(3, p_values(found), 0.95) == [1, 1, 1]


def test_pairs_name_the_better_first():
    found = resample_means(systems(0.1, 0.9, 0.5), samples=200, rng=rng())
    assert set(p_values(found)) == {(1, 0), (2, 0), (1, 2)}


def test_samples_grow_with_the_pairs():
    count = 30
    samples = samples_for(count, 0.95)
    assert samples == 34_800
    assert (2 / (samples + 1)) * count * (count - 1) / 2 < 0.05


def test_values_that_are_no_table_are_refused():
    with pytest.raises(DataError, match="one finite value a unit"):
        resample_means([[0.1, np.nan]], samples=10, rng=rng())
