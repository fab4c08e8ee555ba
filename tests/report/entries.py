"""Models with scores, as a leaderboard is given them."""

import numpy as np

from embedkit.core.entry import Entry, Facts
from embedkit.core.scores import Items, TaskScores
from embedkit.measures.statistics import value

N = 150


def retrieval(mean: float, *, seed: int, task: str = "SciFact", n: int = N, spread: float = 0.05) -> dict:
    """Values by query around a mean, as hard for every model alike."""
    hard = np.random.default_rng(sum(map(ord, task))).normal(0, 0.25, n)
    own = np.random.default_rng(seed).normal(0, spread, n)
    return {f"q{i}": {"ndcg@10": float(mean + hard[i] + own[i])} for i in range(n)}


def similarity(noise: float, *, seed: int, n: int = N) -> Items:
    """Predictions that are the truth and noise."""
    targets = np.random.default_rng(7).uniform(0, 5, n)
    predictions = targets + np.random.default_rng(seed).normal(0, noise, n)
    return Items([str(i) for i in range(n)], predictions, targets)


def entry(name: str, mean: float, *, seed: int, noise: float | None = None, spread: float = 0.05, **facts) -> Entry:
    """A model on SciFact, and on STSBenchmark if there is noise."""
    units = {"SciFact": retrieval(mean, seed=seed, spread=spread)}
    found = float(np.mean([row["ndcg@10"] for row in units["SciFact"].values()]))
    tasks = {"SciFact": TaskScores({"ndcg@10": found}, N, "ndcg@10", revision="a1")}
    items = {}
    if noise is not None:
        items["STSBenchmark"] = similarity(noise, seed=seed)
        score = value("spearman", items["STSBenchmark"].predictions, items["STSBenchmark"].targets)
        tasks["STSBenchmark"] = TaskScores(
            {"cosine_spearman": score}, N, "cosine_spearman", "", "spearman", "STS", "b2"
        )
    return Entry(name, name * 4, tasks, units, items, Facts(**facts))
