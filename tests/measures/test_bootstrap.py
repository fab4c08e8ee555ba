import numpy as np
import pytest
from scipy import stats

from embedkit.measures.bootstrap import Bootstrap, Stratum, bootstrap_average, bootstrap_items, bootstrap_means
from embedkit.measures.statistics import counts, value


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def differences(n: int, seed: int, mean: float = 0.02) -> np.ndarray:
    generator = rng(seed)
    return mean + generator.normal(0, 0.3, n) * (generator.random(n) < 0.4)


def expanded(confidence: float, n: int) -> float:
    """The level at which SciPy's percentile interval is ours."""
    tail = stats.norm.cdf(np.sqrt(n / (n - 1)) * stats.t.ppf((1 - confidence) / 2, n - 1))
    return 1 - 2 * tail


@pytest.mark.parametrize("n", [30, 200])
def test_the_interval_of_a_mean_is_scipys(n):
    a, b = differences(n, 1) + 0.5, np.full(n, 0.5)
    found = bootstrap_means(a - b, samples=20_000, rng=rng()).interval(0.95)
    theirs = stats.bootstrap(
        (a, b),
        lambda x, y, axis: (x - y).mean(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        confidence_level=expanded(0.95, n),
        method="percentile",
        rng=rng(7),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert found == pytest.approx((theirs.low, theirs.high), abs=0.03 * width)


def test_the_interval_of_a_spearman_difference_is_scipys():
    t = rng(0).normal(size=80)
    a, b = t + rng(1).normal(size=80), t + 1.5 * rng(2).normal(size=80)
    found = bootstrap_items("spearman", a, b, t, samples=4000, rng=rng())

    def statistic(x, y, z):
        return value("spearman", x, z) - value("spearman", y, z)

    theirs = stats.bootstrap(
        (a, b, t),
        statistic,
        paired=True,
        vectorized=False,
        n_resamples=4000,
        confidence_level=expanded(0.9, 80),
        method="percentile",
        rng=rng(7),
    )
    low, high = theirs.confidence_interval
    assert found.interval(0.9) == pytest.approx((low, high), abs=0.05 * (high - low))
    assert found.standard_error == pytest.approx(theirs.standard_error, rel=0.06)


def test_items_are_drawn_for_both_systems_alike():
    t = rng(0).normal(size=50)
    a, b = t + rng(1).normal(size=50), t + rng(2).normal(size=50)
    found = bootstrap_items("pearson", a, b, t, samples=20, rng=rng(5))
    rows = [np.repeat(np.arange(50), row.astype(int)) for row in counts(rng(5), 20, 50)]
    expected = [np.corrcoef(a[r], t[r])[0, 1] - np.corrcoef(b[r], t[r])[0, 1] for r in rows]
    assert found.values == pytest.approx(np.array(expected))


def test_one_sided_bounds_are_the_ends_of_a_wider_two_sided_interval():
    found = bootstrap_means(differences(60, 3), samples=2000, rng=rng())
    assert (found.at_least(0.95), found.at_most(0.95)) == pytest.approx(found.interval(0.9), abs=1e-12)
    assert found.at_least(0.99) < found.at_least(0.9) < found.difference < found.at_most(0.9) < found.at_most(0.99)


@pytest.mark.parametrize("shift", [-0.1, -0.05, -0.02, 0.0, 0.02, 0.05, 0.1])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_p_is_below_a_level_where_the_interval_at_it_excludes_zero(shift, confidence):
    found = bootstrap_means(differences(50, 4, mean=shift), samples=3000, rng=rng())
    low, high = found.interval(confidence)
    assert (low > 0 or high < 0) == (found.p < 1 - confidence)


def test_strata_are_drawn_among_themselves():
    """Two tasks whose levels differ much but which hardly vary: their mean must hardly vary either."""
    parts = [
        bootstrap_means(level + differences(40, i) / 1000, samples=500, rng=rng(i)) for i, level in ((1, 0.1), (2, 0.9))
    ]
    found = bootstrap_average(parts, [0.5, 0.5])
    assert found.difference == pytest.approx(sum(part.difference for part in parts) / 2)
    assert found.standard_error == pytest.approx(np.hypot(*(p.standard_error for p in parts)) / 2)
    assert found.values.std() == pytest.approx(found.standard_error, rel=0.15)
    assert found.interval(0.95)[1] - found.interval(0.95)[0] < 0.001


def test_the_mean_over_tasks_is_scipys_bootstrap_of_several_samples():
    x, y = differences(60, 1), differences(90, 2)
    found = bootstrap_average(
        [bootstrap_means(x, samples=20_000, rng=rng(1)), bootstrap_means(y, samples=20_000, rng=rng(2))], [0.5, 0.5]
    )
    theirs = stats.bootstrap(
        (x, y), lambda a, b, axis: (a.mean(axis=axis) + b.mean(axis=axis)) / 2,
        vectorized=True, n_resamples=20_000, confidence_level=0.95, method="percentile", rng=rng(7),
    )  # fmt: skip
    low, high = theirs.confidence_interval
    assert found.interval(0.95) == pytest.approx((low, high), abs=0.04 * (high - low))


def test_the_mean_over_parts_with_the_same_units_is_the_bootstrap_of_their_mean_by_unit():
    """Whatever the parts have in common: of one generator's state, as a group's tasks have, all values are the same."""
    shared, own = differences(70, 1), [differences(70, i) for i in (2, 3, 4)]
    rows, weights = [shared + one for one in own], [0.5, 0.25, 0.25]
    found = bootstrap_average(
        [bootstrap_means(row, samples=4000, rng=rng(5)) for row in rows], weights, drawn=["translations"] * 3
    )
    slow = bootstrap_means(np.average(rows, axis=0, weights=weights), samples=4000, rng=rng(5))
    assert found.values == pytest.approx(slow.values)
    assert found.difference == pytest.approx(slow.difference)
    assert found.standard_error == pytest.approx(slow.standard_error, rel=0.05)
    assert found._degrees == slow._degrees == 69
    assert found.interval(0.95) == pytest.approx(slow.interval(0.95))
    assert found.p == pytest.approx(slow.p)


def test_degrees_of_freedom_are_welchs():
    x, y = rng(1).normal(size=12), rng(2).normal(0, 3, size=30)
    v, w = x.var(ddof=1) / 12, y.var(ddof=1) / 30
    theirs = stats.ttest_ind(x, y, equal_var=False)
    found = Bootstrap(0.0, np.zeros(9), (Stratum(12, float(v)), Stratum(30, float(w))))
    assert found._degrees == pytest.approx(theirs.df)


def test_resamples_without_a_positive_are_drawn_again_and_what_is_undefined_is_none():
    a, b, t = rng(1).random(6), rng(2).random(6), np.array([1.0, 0, 0, 0, 0, 0])
    found = bootstrap_items("average_precision", a, b, t, samples=1000, rng=rng())
    weights = counts(rng(), 1000, 6)
    rows = [np.repeat(np.arange(6), row.astype(int)) for row in weights]
    plain = np.array([np.subtract(*(value("average_precision", side[r], t[r]) for side in (a, b))) for r in rows])
    drawn = np.isfinite(plain)
    assert drawn.mean() == pytest.approx(1 - (5 / 6) ** 6, rel=0.1)
    assert found.values[drawn] == pytest.approx(plain[drawn])
    assert set(found.values[~drawn]) <= set(found.values[drawn])
    assert bootstrap_items("average_precision", a, b, np.zeros(6), samples=100, rng=rng()) is None
    assert bootstrap_items("spearman", np.ones(6), b, rng(3).random(6), samples=100, rng=rng()) is None


def test_equal_systems_are_equal_however_they_are_resampled():
    t = rng(0).normal(size=40)
    found = bootstrap_items("spearman", t**3, t, t, samples=200, rng=rng())
    assert found.interval(0.95) == (0.0, 0.0)
    assert found.p == 1.0
