import numpy as np
import pytest

from embedkit.measures import resampling
from embedkit.measures.pairs import Pairs
from embedkit.measures.resampling import Binned, from_here_on, percentiles, resample
from embedkit.measures.separation import auc
from tests.measures.scored import draw, pairs
from tests.oracles.separation import auc_by_hand


def repeated(found, weights):
    """The pairs with each query as often as its weight."""
    times = weights.astype(int)[found.queries]
    return np.repeat(found.scores, times), np.repeat(found.relevant, times)


def test_weighted_auc_is_that_of_repeated_queries():
    found = pairs(15, 8, shift=1.0, digits=2)
    binned = Binned.of(found)
    weights = np.random.default_rng(0).integers(0, 4, (6, 15)).astype(float)
    expected = []
    for row in weights:
        scores, relevant = repeated(found, row)
        expected.append(auc_by_hand(scores[relevant].tolist(), scores[~relevant].tolist()))
    assert binned.auc(*binned.totals(weights)) == pytest.approx(expected, abs=1e-12)


def test_few_bins_are_exact_for_all_queries_and_nearly_so_for_resamples(monkeypatch):
    found = pairs(80, 60, shift=1.0)
    fine = Binned.of(found)
    monkeypatch.setattr(resampling, "_BINS", (64, 64))
    coarse = Binned.of(found)
    assert len(coarse.edges) <= 64 < len(fine.edges)
    assert coarse.auc(*coarse.totals(np.ones((1, 80)))) == pytest.approx(auc(*found.sides), abs=1e-12)
    weights = np.random.default_rng(1).multinomial(80, np.full(80, 1 / 80), 50).astype(float)
    exact, near = (binned.auc(*binned.totals(weights)) for binned in (fine, coarse))
    assert exact.std() > 0.01
    assert near == pytest.approx(exact, abs=2e-3)
    assert near.std() == pytest.approx(exact.std(), rel=0.02)


def test_counts_above_each_edge_are_those_of_the_pairs():
    found = pairs(10, 6, digits=1)
    binned = Binned.of(found)
    above = from_here_on(binned.totals(np.ones((1, 10)))[1])[0]
    assert above.tolist() == [((found.scores >= edge) & ~found.relevant).sum() for edge in binned.edges]


def test_a_resample_draws_as_many_queries_whatever_memory_allows(monkeypatch):
    whole = resample(7, lambda weights: weights, samples=20, seed=3)
    assert whole.shape == (20, 7)
    assert whole.sum(axis=1).tolist() == [7] * 20
    assert whole.std() > 0
    monkeypatch.setattr(resampling, "_CELLS", 21)
    assert resample(7, lambda weights: weights, samples=20, seed=3).tolist() == whole.tolist()
    assert resample(7, lambda weights: weights, samples=20, seed=4).tolist() != whole.tolist()


def test_intervals_are_of_what_has_a_value():
    assert percentiles(np.array([np.nan, *range(101)]), 0.9) == pytest.approx((5, 95))


def test_intervals_of_pooled_auc_cover_at_their_rate():
    """Normal scores with normal shifts of queries, in which AUC = Φ(gap / √(2 + 2 shift²))."""
    from scipy.stats import norm

    truth, covered, widths = norm.cdf(2.0 / np.sqrt(2 + 2 * 1.0)), [], []
    for seed in range(200):
        found = Pairs.of(*draw(60, 20, gap=2.0, shift=1.0, seed=seed))
        binned = Binned.of(found)
        values = resample(60, lambda weights, b=binned: b.auc(*b.totals(weights)), samples=200, seed=seed)
        low, high = percentiles(values, 0.9)
        covered.append(low <= truth <= high)
        widths.append(high - low)
    assert 0.83 <= np.mean(covered) <= 0.96
    assert np.mean(widths) < 0.1
