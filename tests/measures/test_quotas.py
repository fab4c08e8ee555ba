import numpy as np
import pytest
from scipy import stats

from embedkit.measures.quotas import flagged_tails, share_tails


def test_shares_are_scipys_binomial_test():
    counts = [50, 3, 0, 12]
    wanted = [stats.binomtest(count, 65, 0.3, alternative="greater").pvalue for count in counts]
    assert share_tails(counts, 0.3).tolist() == pytest.approx(wanted)


def test_flagged_are_scipys_fisher_test_against_all_others():
    flagged, counts = [6, 1, 0], [20, 40, 40]
    wanted = [
        stats.fisher_exact([[bad, n - bad], [7 - bad, 100 - n - 7 + bad]], alternative="greater").pvalue
        for bad, n in zip(flagged, counts, strict=True)
    ]
    assert flagged_tails(flagged, counts).tolist() == pytest.approx(wanted)


def test_honest_contributors_are_seldom_flagged():
    rng, hits = np.random.default_rng(0), 0
    counts = np.array([200, 300, 500])
    for _ in range(400):
        owners = rng.permutation(np.repeat([0, 1, 2], counts))[:30]
        hits += (flagged_tails(np.bincount(owners, minlength=3), counts) <= 0.05).any()
    assert hits / 400 <= 0.15 + 0.05  # three tests at 5 % each
