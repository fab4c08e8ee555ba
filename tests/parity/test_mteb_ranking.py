"""embedkit's ranking metrics are mteb's, query by query and unrounded, on the same run: ties and grades included."""

import random

import numpy as np
import pytest

from embedkit.evaluation.comparing.runs import judged, read_run_system
from embedkit.evaluation.containment import contained
from embedkit.evaluation.trec import write_qrels, write_run
from embedkit.measures.ranking import mean_scores, per_query

CUTOFFS = (1, 3, 5, 10, 20, 100, 1000)
NAMES = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "precision": "P"}
METRICS = [f"{family}@{k}" for family in (*NAMES, "mrr") for k in CUTOFFS]


@pytest.fixture(scope="module")
def theirs():
    """mteb's function of a run and judgements: its per-query values and means, unrounded."""
    with contained():
        from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores, mrr

        def calculate(run, qrels):
            found = calculate_retrieval_scores(run, qrels, list(CUTOFFS))
            ranks = mrr(qrels, run, list(CUTOFFS))
            values = {
                query: {
                    **{f"{ours}@{k}": scores[f"{name}_{k}"] for ours, name in NAMES.items() for k in CUTOFFS},
                    **{f"mrr@{k}": ranks[f"MRR@{k}"][row] for k in CUTOFFS},
                }
                for row, (query, scores) in enumerate(found.all_scores.items())
            }
            return values, found

        return calculate


def made(kind: str, seed: int, queries: int = 25, documents: int = 400):
    """A run and its judgements: `ties` has few distinct scores, `graded` relevance from -1 to 3, `close` scores that
    single precision cannot tell apart, `deep` more documents than any cut-off."""
    rng = random.Random(seed)
    scores = {
        "ties": lambda: rng.choice([0.0, 0.5, 0.5, 1.0]),
        "close": lambda: 1.0 + rng.choice([0, 1e-9, 2e-9, 1e-3]),
    }.get(kind, lambda: float(np.float32(rng.random())))
    corpus = [f"d{i}" for i in range(documents)]
    depth = documents if kind == "deep" else 60
    run = {f"q{i}": {doc: scores() for doc in rng.sample(corpus, depth)} for i in range(queries)}
    grades = [-1, 0, 1, 2, 3] if kind == "graded" else [0, 1]
    judged_docs = {query: [*rng.sample(list(found), 20), *rng.sample(corpus, 10)] for query, found in run.items()}
    qrels = {query: {doc: rng.choice(grades) for doc in docs} for query, docs in judged_docs.items()}
    qrels["q1"] = dict.fromkeys(qrels["q1"], 0)  # nothing is relevant to it; it counts all the same
    return run, qrels


@pytest.mark.parametrize("kind", ["plain", "ties", "graded", "close", "deep"])
@pytest.mark.parametrize("seed", range(3))
def test_every_metric_of_every_query_is_mtebs(theirs, kind, seed):
    run, qrels = made(kind, seed, documents=1100 if kind == "deep" else 400)
    values, whole = theirs(run, qrels)
    found = per_query(run, qrels, METRICS)
    assert found.keys() == values.keys() == qrels.keys()
    for query, metrics in values.items():
        assert found[query] == pytest.approx(metrics, abs=1e-9), query
    means = mean_scores(found)
    assert sum(means.values()) > 1  # they are not all zero
    for name, theirs_ in (("mrr", whole.mrr), ("ndcg", whole.ndcg), ("map", whole.map), ("recall", whole.recall)):
        for k in CUTOFFS:
            key = next(key for key in theirs_ if key.endswith(f"@{k}"))
            assert means[f"{name}@{k}"] == pytest.approx(theirs_[key], abs=1.1e-5)  # rounded to five digits by mteb


def test_a_run_file_has_the_scores_of_the_run(theirs, tmp_path):
    run, qrels = made("graded", 9)
    write_run(tmp_path / "made.run", run, tag="made")
    write_qrels(tmp_path / "made.qrels", qrels)
    system, _ = read_run_system(tmp_path / "made.run", judged(tmp_path / "made.qrels"), METRICS)
    values, _ = theirs(run, qrels)
    for query, metrics in values.items():
        assert system.tasks["made"].per_query[query] == pytest.approx(metrics, abs=1e-9)


def test_identical_ids_are_ignored_as_mteb_ignores_them(theirs, tmp_path):
    """Queries that are documents, as in ArguAna and Quora: mteb takes them out of the results before it scores."""
    run, qrels = made("plain", 5)
    for query in run:
        run[query][query] = 2.0  # each finds itself first
    without = {query: {doc: s for doc, s in documents.items() if doc != query} for query, documents in run.items()}
    write_run(tmp_path / "self.run", run, tag="self")
    write_qrels(tmp_path / "self.qrels", qrels)
    about = judged(tmp_path / "self.qrels")
    system, notes = read_run_system(tmp_path / "self.run", about, METRICS, ignore_identical_ids=True)
    values, _ = theirs(without, qrels)
    for query, metrics in values.items():
        assert system.tasks["self"].per_query[query] == pytest.approx(metrics, abs=1e-9)
    assert "25 documents that have their query's id are left out" in notes[0]
    plain, _ = read_run_system(tmp_path / "self.run", about, ["mrr@10"])
    assert plain.tasks["self"].scores.metrics["mrr@10"] < system.tasks["self"].scores.metrics["mrr@10"]
