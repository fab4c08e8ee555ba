import itertools

import numpy as np
import pytest
from scipy import stats

from embedkit.core.errors import DataError
from embedkit.measures.hubness import change, gains, gini, largest_gain, occurrences, skewness, top_share


def lists(seed: int, *, queries: int = 12, k: int = 3, n: int = 9, empty: float = 0.1) -> np.ndarray:
    """(Q, k) different documents a query, some slots empty."""
    rng = np.random.default_rng(seed)
    rows = np.stack([rng.permutation(n)[:k] for _ in range(queries)])
    return np.where(rng.random(rows.shape) < empty, -1, rows)


def plain_counts(rows: np.ndarray, n: int) -> list[int]:
    counts = [0] * n
    for row in rows.tolist():
        for document in row:
            if document >= 0:
                counts[document] += 1
    return counts


@pytest.mark.parametrize("seed", range(5))
def test_occurrences_are_those_of_a_plain_loop(seed):
    rows = lists(seed)
    assert occurrences(rows, 11).tolist() == plain_counts(rows, 11)


@pytest.mark.parametrize("seed", range(5))
def test_statistics_are_those_of_loops_and_scipy_also_without_the_zeros(seed):
    rows, n = lists(seed), 30
    counts = plain_counts(rows, n)
    some = np.array([count for count in counts if count])
    mean = sum(counts) / n
    by_hand = sum(abs(a - b) for a in counts for b in counts) / (2 * n * n * mean)
    for given in (np.array(counts), some):
        assert skewness(given, n) == pytest.approx(stats.skew(counts))
        assert gini(given, n) == pytest.approx(by_hand)
        assert top_share(given, n, share=0.1) == pytest.approx(sum(sorted(counts)[-3:]) / sum(counts))


def test_statistics_of_equal_counts_and_of_none():
    assert (skewness(np.full(5, 2), 5), gini(np.full(5, 2), 5)) == (0.0, pytest.approx(0))
    nothing = np.empty(0, dtype=np.int64)
    assert (skewness(nothing, 5), gini(nothing, 5), top_share(nothing, 5)) == (0.0, 0.0, 0.0)
    assert gini(np.array([7]), 100) == pytest.approx(0.99)


@pytest.mark.parametrize("seed", range(5))
def test_gains_are_those_of_a_plain_loop(seed):
    plain, changed, n = lists(seed), lists(seed + 100), 9
    won, lost = [0] * n, [0] * n
    for before, after in zip(plain.tolist(), changed.tolist(), strict=True):
        for document in range(n):
            won[document] += document in after and document not in before
            lost[document] += document in before and document not in after
    found = gains(plain, changed, n)
    assert (found.won.tolist(), found.lost.tolist()) == (won, lost)
    p = found.p_values()
    for document in range(n):
        total = won[document] + lost[document]
        wanted = stats.binomtest(won[document], total, 0.5, alternative="greater").pvalue if total else 1.0
        assert p[document] == pytest.approx(wanted)


def test_swaps_are_those_of_all_patterns():
    plain, changed, n = lists(1, queries=7), lists(50, queries=7), 9

    def rise(first, second):
        return gini(np.array(plain_counts(second, n)), n) - gini(np.array(plain_counts(first, n)), n)

    patterns = [np.array(bits, dtype=bool)[:, None] for bits in itertools.product((0, 1), repeat=7)]
    rises = [rise(np.where(s, changed, plain), np.where(s, plain, changed)) for s in patterns]
    exact = np.mean(np.array(rises) >= rise(plain, changed) - 1e-12)
    found = change(plain, changed, n, gini, samples=4000, seed=3)
    assert found.plain == pytest.approx(gini(np.array(plain_counts(plain, n)), n))
    assert found.changed == pytest.approx(gini(np.array(plain_counts(changed, n)), n))
    assert found.p == pytest.approx(exact, abs=0.03)

    nets = [gains(np.where(s, changed, plain), np.where(s, plain, changed), n).net.max() for s in patterns]
    most, p = largest_gain(plain, changed, n, samples=4000, seed=3)
    assert most == gains(plain, changed, n).net.max()
    assert p == pytest.approx(np.mean(np.array(nets) >= most), abs=0.03)


def test_p_values_are_uniform_under_the_null_and_small_for_a_hub():
    p = [change(lists(s, queries=30), lists(s + 1000, queries=30), 9, skewness, samples=99).p for s in range(120)]
    assert min(p) > 0
    assert max(p) <= 1
    assert stats.kstest(p, "uniform").pvalue > 0.001
    plain, changed = lists(1, queries=40, n=50), lists(2, queries=40, n=50)
    changed[:15, 0] = 49
    changed[:, 1:][changed[:, 1:] == 49] = -1
    assert largest_gain(plain, changed, 50, samples=999)[1] < 0.005
    assert change(plain, changed, 50, skewness, samples=999).p < 0.01


def test_the_same_seed_gives_the_same_p_and_lists_must_pair():
    plain, changed = lists(1), lists(2)
    assert change(plain, changed, 9, gini, seed=4) == change(plain, changed, 9, gini, seed=4)
    with pytest.raises(DataError, match=r"\(12, 3\), \(5, 3\)"):
        gains(plain, changed[:5], 9)
    with pytest.raises(DataError, match="pair row by row"):
        change(plain, changed[:, :2], 9, gini)
    assert largest_gain(np.full((4, 2), -1), np.full((4, 2), -1), 3) == (0, 1.0)
