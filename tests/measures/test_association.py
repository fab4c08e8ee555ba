import itertools

import numpy as np
import pytest
from scipy import stats

from embedkit.core.errors import DataError
from embedkit.measures.association import excess, joint_p, rank_p, shuffles, table, together


def test_one_stratum_is_fishers_exact_test_and_pearsons_chi_square():
    rng = np.random.default_rng(0)
    x, y = rng.random(60) < 0.4, rng.random(60) < 0.3
    cells = [[(x & y).sum(), (x & ~y).sum()], [(~x & y).sum(), (~x & ~y).sum()]]
    found = table(x, y, np.zeros(60))
    assert found.p == pytest.approx(stats.fisher_exact(cells, alternative="greater").pvalue)
    assert found.chi_square == pytest.approx(stats.chi2_contingency(cells, correction=False).statistic)
    assert found.expected == pytest.approx(x.sum() * y.sum() / 60)
    a, b, c, d = (np.array(cells).ravel() + 0.5).tolist()
    assert found.log_odds == pytest.approx(np.log(a * d / (b * c)))


def test_strata_are_those_of_all_shuffles():
    x, y = np.array([1, 0, 1, 0, 1, 1, 0]), np.array([1, 1, 0, 0, 1, 0, 0])
    strata = np.array(list("aaabbbb"))
    counts = [
        sum(x[i] * first[i] for i in range(3)) + sum(x[3 + i] * second[i] for i in range(4))
        for first in itertools.permutations(y[:3])
        for second in itertools.permutations(y[3:])
    ]
    found = table(x, y, strata)
    assert found.p == pytest.approx(np.mean(np.array(counts) >= (x * y).sum()))
    assert found.expected == pytest.approx(np.mean(counts))
    assert together(x, y, strata, samples=4000) == pytest.approx(found.p, abs=0.03)


def test_shuffles_keep_every_stratum_what_it_was():
    values, strata = np.arange(10.0), np.array([0] * 4 + [1] * 6)
    drawn = np.concatenate(list(shuffles(values, strata, 50, seed=1)))
    assert drawn.shape == (50, 10)
    assert (np.sort(drawn[:, :4]) == values[:4]).all()
    assert (np.sort(drawn[:, 4:]) == values[4:]).all()
    assert len({tuple(row) for row in drawn.tolist()}) > 40


def test_rank_p_is_that_of_a_plain_loop_and_tells_strata_apart():
    values, strata = np.array([3.0, 1, 3, 2, 9, 9]), np.array([0, 0, 0, 0, 1, 1])
    wanted = []
    for value, stratum in zip(values, strata, strict=True):
        peers = values[strata == stratum]
        wanted.append(((peers > value).sum() + ((peers == value).sum() + 1) / 2) / (len(peers) + 1))
    assert rank_p(values, strata).tolist() == pytest.approx(wanted)


def test_joint_p_is_fishers_combination():
    first, second = np.array([0.01, 0.5, 1e-300]), np.array([0.2, 0.9, 1e-300])
    wanted = [stats.combine_pvalues([a, b], method="fisher").pvalue for a, b in zip(first[:2], second[:2], strict=True)]
    assert joint_p(first, second)[:2].tolist() == pytest.approx(wanted)
    assert 0 <= joint_p(first, second)[2] < 1e-290


def planted(seed: int, *, rows: int, n: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two independent values a row, but for the first `rows`, where both are high; and strata."""
    rng = np.random.default_rng(seed)
    x, y = rng.exponential(size=n), rng.exponential(size=n)
    x[:rows] += 4
    y[:rows] += 4
    return x, y, rng.integers(0, 3, n)


def test_p_values_are_uniform_under_the_null():
    sums, tables, extremes = [], [], []
    for seed in range(150):
        x, y, strata = planted(seed, rows=0, n=150)
        sums.append(together(x, y, strata, samples=99, seed=seed))
        extremes.append(excess(rank_p(x, strata), rank_p(y, strata), strata, samples=99, seed=seed).p)
        tables.append(table(x > 1, y > 1, strata).p)
    assert stats.kstest(sums, "uniform").pvalue > 0.001
    assert stats.kstest(extremes, "uniform").pvalue > 0.001
    for level in (0.05, 0.2, 0.5):  # a table's p-values are few, so that they are too large rather than too small
        assert np.mean(np.array(tables) <= level) <= level + 3 * (level * (1 - level) / 150) ** 0.5


def test_planted_rows_are_found_and_counted():
    x, y, strata = planted(0, rows=12)
    assert together(x, y, strata, samples=999) == 0.001
    found = excess(rank_p(x, strata), rank_p(y, strata), strata, samples=999)
    assert found.p == 0.001
    assert 8 <= found.rows <= 18
    few = planted(1, rows=3)
    assert excess(rank_p(few[0], few[2]), rank_p(few[1], few[2]), few[2], samples=999).p < 0.05


def test_the_statistic_is_the_smallest_binomial_tail():
    x, y, _ = planted(3, rows=5, n=60)
    strata = np.zeros(60)
    p = sorted(joint_p(rank_p(x, strata), rank_p(y, strata)))[:6]
    tails = [-np.log10(stats.binom.sf(i - 1, 60, p[i - 1])) for i in range(1, 7)]
    found = excess(rank_p(x, strata), rank_p(y, strata), strata, most=0.1, samples=9)
    assert found.statistic == pytest.approx(max(tails))
    assert found.rows == 1 + int(np.argmax(tails))


def test_rows_must_pair_and_there_may_be_none():
    with pytest.raises(DataError, match=r"\(3,\), \(2,\)"):
        together([1, 2, 3], [1, 2], [0, 0, 0])
    nothing = np.empty(0)
    assert together(nothing, nothing, nothing) == 1.0
    assert excess(nothing, nothing, nothing).p == 1.0
