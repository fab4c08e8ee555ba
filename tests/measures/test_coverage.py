"""What statistics promise, held by simulation: intervals cover, p-values are uniform where nothing differs."""

import numpy as np
import pytest
from scipy.stats import binom, kstest

from embedkit.measures.bootstrap import bootstrap_average, bootstrap_items, bootstrap_means
from embedkit.measures.randomization import randomize_average, randomize_items, randomize_means
from embedkit.measures.significance import paired_bootstrap

SAMPLES = 300


def sparse(rng: np.random.Generator, n: int, mean: float = 0.0) -> np.ndarray:
    """Differences of two like systems: most queries do not differ."""
    return mean + rng.normal(0, 0.3, n) * (rng.random(n) < 0.5)


def systems(rng: np.random.Generator, n: int, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two systems that are equally good, on scales of their own."""
    t = rng.normal(size=n)
    if kind == "average_precision":
        t = (t > 0.5).astype(float)
    return t + rng.normal(size=n), 7 + 3 * (t + rng.normal(size=n)), t


def near(share: float, level: float, trials: int, slack: float) -> bool:
    """Whether a share is what `level` gives but once in a thousand times, `slack` besides."""
    low, high = binom.ppf([0.0005, 0.9995], trials, level) / trials
    return low - slack <= share <= high + slack


@pytest.mark.parametrize(("n", "slack"), [(20, 0.03), (50, 0.015), (200, 0.0)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_intervals_of_means_cover(n, slack, confidence):
    rng, trials, inside = np.random.default_rng(n), 600, 0
    for seed in range(trials):
        low, high = bootstrap_means(sparse(rng, n, 0.1), samples=SAMPLES, rng=np.random.default_rng(seed)).interval(
            confidence
        )
        inside += low <= 0.1 <= high
    assert near(inside / trials, confidence, trials, slack)


def test_one_sided_bounds_are_wrong_as_often_as_they_say():
    """What a regression gate rests on: the chance that it stops a system that is no worse than the margin."""
    rng, trials, wrong = np.random.default_rng(1), 600, 0
    for seed in range(trials):
        found = bootstrap_means(sparse(rng, 120, -0.01), samples=SAMPLES, rng=np.random.default_rng(seed))
        wrong += found.at_most(0.95) < -0.01
    assert near(wrong / trials, 0.05, trials, 0.01)


@pytest.mark.parametrize("name", ["spearman", "pearson", "average_precision"])
def test_intervals_of_differences_of_statistics_cover(name):
    rng, trials, inside = np.random.default_rng(3), 300, 0
    for seed in range(trials):
        a, b, t = systems(rng, 150, name)
        low, high = bootstrap_items(name, a, b, t, samples=SAMPLES, rng=np.random.default_rng(seed)).interval(0.9)
        inside += low <= 0 <= high  # equally good: the true difference is 0
    assert near(inside / trials, 0.9, trials, 0.01)


def test_intervals_of_the_mean_over_tasks_cover():
    rng, trials, inside = np.random.default_rng(4), 400, 0
    for seed in range(trials):
        parts = [bootstrap_means(sparse(rng, n, m), samples=SAMPLES, rng=np.random.default_rng([seed, n]))
                 for n, m in ((30, 0.3), (60, 0.0), (100, -0.1))]  # fmt: skip
        low, high = bootstrap_average(parts, [0.5, 0.25, 0.25]).interval(0.9)
        inside += low <= 0.125 <= high
    assert near(inside / trials, 0.9, trials, 0.01)


@pytest.mark.parametrize(
    "p_of",
    [
        lambda rng, seed: randomize_means(sparse(rng, 60), samples=SAMPLES, rng=np.random.default_rng(seed)).p,
        lambda rng, seed: paired_bootstrap(sparse(rng, 60), np.zeros(60), samples=SAMPLES, seed=seed).p,
        lambda rng, seed: (
            randomize_items(
                "spearman", *systems(rng, 100, "spearman"), samples=SAMPLES, rng=np.random.default_rng(seed)
            ).p
        ),
        lambda rng, seed: (
            randomize_items(
                "average_precision",
                *systems(rng, 100, "average_precision"),
                samples=SAMPLES,
                rng=np.random.default_rng(seed),
            ).p
        ),
        lambda rng, seed: (
            randomize_average(
                [
                    randomize_means(sparse(rng, n), samples=SAMPLES, rng=np.random.default_rng([seed, n]))
                    for n in (40, 90)
                ],
                [0.5, 0.5],
            ).p
        ),
    ],
    ids=["randomisation", "bootstrap", "spearman", "average precision", "mean over tasks"],
)
def test_p_is_uniform_where_nothing_differs(p_of):
    rng = np.random.default_rng(5)
    p = np.array([p_of(rng, seed) for seed in range(400)])
    assert 0 < p.min() <= p.max() <= 1
    assert kstest(p, "uniform").pvalue > 0.005


def test_p_is_uniform_where_systems_are_equally_good_but_not_alike():
    """Weaker than exchangeable: one system is a little right on all items, the other wholly on some."""
    rng, found = np.random.default_rng(6), []
    share = 0.5815  # at which Spearman's correlation of both is that of a normal pair with 0.6
    for seed in range(300):
        t = rng.normal(size=150)
        a = 0.6 * t + 0.8 * rng.normal(size=150)
        b = np.where(rng.random(150) < share, t, rng.normal(size=150))
        found.append(randomize_items("spearman", a, b, t, samples=SAMPLES, rng=np.random.default_rng(seed)).p)
    assert kstest(found, "uniform").pvalue > 0.005


def test_a_difference_that_is_there_is_found():
    """The vacuity guard of the tests above: p is not uniform whatever the data."""
    rng = np.random.default_rng(7)
    p = [randomize_means(sparse(rng, 60, 0.1), samples=SAMPLES, rng=np.random.default_rng(s)).p for s in range(100)]
    assert np.mean(np.array(p) < 0.05) > 0.7
