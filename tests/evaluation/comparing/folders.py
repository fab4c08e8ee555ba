"""Folders of scores, as `evaluate` writes them."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from embedkit.core.scores import (
    Items,
    ModelScores,
    PerQuery,
    TaskScores,
    write_items,
    write_per_query,
    write_scores,
    write_texts,
)
from embedkit.evaluation.comparing.systems import Reached, System

KEYS = {"base": "a1" * 32, "better": "b2" * 32, "worse": "c3" * 32}
SHIFTS = {"base": 0.0, "better": 0.08, "worse": -0.08}
N = 60


def queries(shift: float = 0.0, n: int = N, seed: int = 0, metric: str = "ndcg@10") -> PerQuery:
    """Values that the shift moves for every query, and chance a little."""
    hard, noise = np.random.default_rng(9).random(n), np.random.default_rng(seed).normal(0, 0.05, n)
    values = np.clip(0.2 + 0.6 * hard + shift + noise, 0, 1)
    return {f"q{i}": {metric: float(v), "mrr@10": float(v) ** 2} for i, v in enumerate(values)}


def ranking(rows: PerQuery, *, group: str = "", revision: str = "r1", main: str = "ndcg@10") -> Reached:
    """A retrieval task."""
    names = dict.fromkeys(name for row in rows.values() for name in row)
    means = {name: float(np.mean([row[name] for row in rows.values() if name in row])) for name in names}
    return Reached(TaskScores(means, len(rows), main, group, "mean", "Retrieval", revision), rows)


def similarity(noise: float, *, n: int = N, seed: int = 0, group: str = "", scale: float = 1.0) -> Reached:
    """An STS task; the less noise, the better."""
    gold = np.random.default_rng(5).normal(size=n)
    said = scale * (gold + noise * np.random.default_rng(seed).normal(size=n))
    scores = TaskScores(
        {"cosine_spearman": 0.5, "cosine_pearson": 0.5}, n, "cosine_spearman", group, "spearman", "STS", "r1"
    )
    return Reached(scores, {}, Items([str(i) for i in range(n)], said, gold))


def system(name: str, **tasks: Reached) -> System:
    """A system by name."""
    return System(name, tasks)


def three() -> list[System]:
    """base, better and worse on one retrieval task."""
    return [system(name, SciFact=ranking(queries(SHIFTS[name], seed=i))) for i, name in enumerate(SHIFTS)]


def write_folder(folder: Path, systems: list[System], texts: Mapping[str, Mapping[str, str]] | None = None) -> Path:
    """A folder of scores; models have the keys of their names."""
    folder.mkdir(parents=True)
    keys = [KEYS[s.name] for s in systems]
    write_scores(
        folder, [ModelScores(k, {t: r.scores for t, r in s.tasks.items()}) for k, s in zip(keys, systems, strict=True)]
    )
    both = [((k, t), r) for k, s in zip(keys, systems, strict=True) for t, r in s.tasks.items()]
    write_per_query(folder, {place: r.per_query for place, r in both if r.per_query})
    write_items(folder, {place: r.items for place, r in both if r.items is not None})
    write_texts(folder, texts or {})
    return folder


def write_run(folder: Path, systems: list[System], texts: Mapping[str, Mapping[str, str]] | None = None) -> Path:
    """A run folder with one evaluate stage, `scores`."""
    write_folder(folder / "scores", systems, texts)
    inputs = {s.name: KEYS[s.name] for s in systems} | {"data": "d4" * 32}
    stages = {name: {"key": key, "kind": "pretrained", "inputs": {}} for name, key in inputs.items()}
    stages["scores"] = {"key": "e5" * 32, "kind": "evaluate", "inputs": inputs}
    (folder / "provenance.json").write_text(json.dumps({"stages": stages}))
    return folder
