import numpy as np
import pytest
from scipy import stats

from embedkit.measures.bootstrap import bootstrap_items, bootstrap_means
from embedkit.measures.effect import Record, effect_size, wins_ties_losses


def test_it_is_the_mean_in_standard_deviations():
    d = np.random.default_rng(0).normal(0.3, 1, 80)
    found = bootstrap_means(d, samples=200, rng=np.random.default_rng(0))
    effect = effect_size(found.difference, found.standard_error, 80)
    assert effect == pytest.approx(d.mean() / d.std(ddof=1))
    assert effect * np.sqrt(80) == pytest.approx(stats.ttest_1samp(d, 0).statistic)


def test_of_a_statistic_it_does_not_grow_with_the_items():
    def effect(n: int) -> float:
        rng = np.random.default_rng(2)
        t = rng.normal(size=n)
        a, b = t + 0.5 * rng.normal(size=n), t + rng.normal(size=n)
        found = bootstrap_items("spearman", a, b, t, samples=500, rng=rng)
        return effect_size(found.difference, found.standard_error, n)

    assert effect(2000) == pytest.approx(effect(500), rel=0.3)
    assert effect(2000) > 0.2


def test_what_cannot_be_told_is_none():
    assert effect_size(0.1, 0.0, 10) is None
    assert effect_size(0.1, 0.05, 1) is None
    assert effect_size(0.0, 0.0, 10) == 0.0
    constant = bootstrap_means(np.full(20, 0.1), samples=100, rng=np.random.default_rng(0))
    assert effect_size(constant.difference, constant.standard_error, 20) is None


def test_a_tie_is_what_rounding_tells_apart():
    assert wins_ties_losses([0.1, 0.3 - 0.1 - 0.2, 0.0, -0.5, 0.2]) == Record(2, 2, 1)
    assert wins_ties_losses([]) == Record(0, 0, 0)
