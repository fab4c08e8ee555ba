from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, permutation_test
from scipy.stats import t as student

from embedkit.core.errors import DataError
from embedkit.measures import bootstrap, randomization
from embedkit.measures.randomization import randomize_means
from embedkit.measures.significance import paired_bootstrap, paired_differences
from embedkit.measures.statistics import chunks
from tests import oracles

values = st.lists(st.floats(0, 1, width=16), min_size=2, max_size=9)


def pair(n, shift, seed):
    rng = np.random.default_rng(seed)
    b = rng.random(n)
    return b + shift + rng.normal(0, 0.1, n), b


def randomization_p(a, b, *, samples=10_000, seed=0):
    rng = np.random.default_rng(seed)
    return randomize_means(paired_differences(a, b), samples=samples, rng=rng).p


def test_the_bootstrap_equals_its_definition():
    a, b = pair(25, 0.03, 0)
    found = paired_bootstrap(a, b, samples=400, seed=3)
    draws = np.random.default_rng(3).integers(0, 25, (400, 25)).tolist()
    means = oracles.bootstrap_means_by_hand((a - b).tolist(), draws)
    rarer = min(sum(mean <= 0 for mean in means), sum(mean >= 0 for mean in means))
    tail = norm.cdf(np.sqrt(25 / 24) * student.ppf(0.025, 24))
    assert found.difference == pytest.approx(a.mean() - b.mean())
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [tail, 1 - tail])))
    assert found.p == pytest.approx(2 * student.cdf(norm.ppf((rarer + 1) / 401) * np.sqrt(24 / 25), 24))


def test_the_interval_does_not_depend_on_the_memory_it_takes(monkeypatch):
    a, b = pair(30, 0.02, 1)
    whole = paired_bootstrap(a, b, samples=500), randomization_p(a, b, samples=500)
    for module in (bootstrap, randomization):
        monkeypatch.setattr(module, "chunks", partial(chunks, cells=100))
    assert (paired_bootstrap(a, b, samples=500), randomization_p(a, b, samples=500)) == whole


@given(values, st.integers(0, 5))
@settings(max_examples=30)
def test_swapping_the_systems_turns_the_difference_round(a, seed):
    b = a[::-1]
    there, back = paired_bootstrap(a, b, samples=200, seed=seed), paired_bootstrap(b, a, samples=200, seed=seed)
    assert there.difference == pytest.approx(-back.difference)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.p == back.p
    assert there.low <= there.high
    assert 0 < there.p <= 1


@given(values)
@settings(max_examples=30)
def test_a_system_does_not_differ_from_itself(a):
    found = paired_bootstrap(a, a, samples=100)
    assert (found.difference, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)
    assert randomization_p(a, a) == 1.0


@pytest.mark.parametrize("shift", [0.0, 0.01, 0.03, 0.1])
def test_p_and_interval_agree(shift):
    found = paired_bootstrap(*pair(60, shift, 5), samples=4000)
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_a_clear_difference_is_seen_and_p_is_never_zero():
    a, b = pair(100, 0.5, 0)
    found = paired_bootstrap(a, b, samples=999)
    assert found.low > 0.4
    assert found.p == pytest.approx(2 * student.cdf(norm.ppf(1 / 1000) * np.sqrt(99 / 100), 99))
    assert 0 < found.p < 0.003
    assert randomization_p(a, b, samples=999) == pytest.approx(1 / 1000)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=8))
@settings(max_examples=20)
def test_random_signs_are_a_sample_of_all_sign_patterns(differences):
    found = randomization_p(differences, [0] * len(differences), samples=20_000)
    assert found == pytest.approx(oracles.sign_flip_p_by_hand([float(d) for d in differences]), abs=0.02)


@pytest.mark.parametrize("n", [10, 40])
def test_randomisation_is_scipys_permutation_test(n):
    a, b = pair(n, 0.03, 2)
    theirs = permutation_test(
        (a, b),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf if n == 10 else 20_000,
        rng=np.random.default_rng(0),
    )
    assert randomization_p(a, b, samples=20_000) == pytest.approx(theirs.pvalue, abs=0.015)


@pytest.mark.parametrize(
    "p_of", [lambda a, b: paired_bootstrap(a, b, samples=300).p, lambda a, b: randomization_p(a, b, samples=300)]
)
def test_p_is_about_uniform_where_nothing_differs(p_of):
    p = np.array([p_of(*pair(80, 0.0, seed)) for seed in range(300)])
    for level in (0.05, 0.1, 0.5):
        assert abs((p <= level).mean() - level) < 3 * np.sqrt(level * (1 - level) / len(p)) + 0.015


def test_one_query_tells_nothing():
    found = paired_bootstrap([0.9], [0.1])
    assert (found.low, found.high, found.p) == (0.8, 0.8, 1.0)


@pytest.mark.parametrize("test", [paired_bootstrap, randomization_p])
@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1.0], [1.0, 2.0], "one value a query from each"),
        ([[1.0]], [[1.0]], "one value a query from each"),
        ([], [], "at least one query"),
        ([float("nan")], [0.0], "finite"),
    ],
)
def test_what_does_not_pair_is_an_error(test, a, b, message):
    with pytest.raises(DataError, match=message):
        test(a, b)
