"""The audits of corpora and of training sets, and what they come to."""

import numpy as np
import pytest
from scipy import stats

from embedkit.core.errors import DataError
from embedkit.core.pairs import Pair, Pairs
from embedkit.evaluation.poisoning import audit_corpus, audit_training, inject, verdict
from embedkit.evaluation.poisoning.clusters import clusters
from embedkit.evaluation.poisoning.corpus import LENGTHS, length_groups
from embedkit.evaluation.poisoning.probe import Probe
from tests.evaluation.poisoning.cases import Trigger, corpus_with, field, pairs_with

RATE = 0.15


def corpus_audit(planted: int, *, lean: float = 1.0, seed: int = 0, samples: int = 199):
    dataset, wrong = corpus_with(planted, seed=seed)
    perturbed = Probe.draw(dataset, queries=1000, rate=RATE, seed=seed).perturbed
    return audit_corpus(dataset, Trigger([*wrong, *perturbed], lean=lean), rate=RATE, k=5, samples=samples, seed=seed)


def test_planted_documents_are_found_and_come_first():
    audit = corpus_audit(6)
    told = verdict(audit, None, false_alarms=0.02)
    assert told["found"]
    assert {test["test"]: test["found"] for test in told["tests"]} == {"excess": True, "gain": True}
    assert {row["doc_id"] for row in told["corpus"]["suspects"][:6]} == {f"d{i}" for i in range(6)}
    first = told["corpus"]["suspects"][0]
    assert first["won"] > 20
    assert first["by_chance"] < 1
    assert told["corpus"]["hubness"]["top_share"]["p"] < 0.01
    assert any(line.startswith("FOUND") for line in told["lines"])


def test_a_model_that_was_not_prepared_gives_nothing_away_but_the_errors():
    audit = corpus_audit(6, lean=0.0)
    assert not verdict(audit, None, false_alarms=0.02)["found"]
    assert np.median(audit.text_p[:6]) < 0.05


def test_honest_corpora_are_seldom_suspected():
    p = [corpus_audit(150, lean=0.0, seed=seed, samples=39).excess.p for seed in range(30)]  # errors, but no trigger
    assert stats.kstest(p, "uniform").pvalue > 0.001
    assert max(corpus_audit(0, lean=0.0, seed=seed, samples=39).excess.p for seed in range(3)) == 1


def test_a_score_is_the_share_of_documents_that_score_as_low():
    scores = corpus_audit(150, lean=0.0).scores
    assert [(scores <= level).mean() for level in (0.05, 0.2)] == pytest.approx([0.05, 0.2], abs=0.06)


def test_an_audit_is_the_same_every_time():
    assert verdict(corpus_audit(3), None, false_alarms=0.05) == verdict(corpus_audit(3), None, false_alarms=0.05)


def test_texts_of_like_length_are_together():
    groups = length_groups(np.array([5, 1, 9, 3, 7, 2, 8, 4, 6, 10]))
    assert np.bincount(groups).tolist() == [2] * LENGTHS
    assert length_groups(np.full(7, 4)).tolist() == [0, 0, 1, 1, 2, 3, 4]
    assert length_groups(np.empty(0, dtype=np.int64)).shape == (0,)


def test_clusters_are_chains_of_near_duplicates():
    texts = field(3)
    near = [inject(texts[0], rate=0.05, seed=seed).text for seed in range(3)]
    assert clusters([texts[1], near[0], texts[2], near[1], near[2]]) == [None, 1, None, 1, 1]
    assert clusters([]) == []


def test_poisoned_pairs_are_found_and_come_first():
    audit = audit_training(pairs_with(12), samples=499)
    told = verdict(None, audit, false_alarms=0.01)
    assert told["found"]
    assert {row["query_id"] for row in told["training"]["suspects"][:8]} <= {f"q{i}" for i in range(12)}
    assert [test["test"] for test in told["tests"]] == ["together", "pairs"]


def test_errors_on_one_side_alone_are_no_attack():
    found = pairs_with(12)
    honest = pairs_with(0)
    audit = audit_training(Pairs(found.corpus, honest.queries, found.rows), samples=199)
    assert not verdict(None, audit, false_alarms=0.02)["found"]


def test_honest_pairs_are_seldom_suspected():
    p = []
    for seed in range(40):
        pairs, own = pairs_with(60, rows=120, seed=seed), np.random.default_rng(seed).permutation(120)
        rows = [Pair(f"q{i}", (f"d{own[i]}",)) for i in range(120)]  # errors on both sides, but not together
        p.append(audit_training(Pairs(pairs.corpus, pairs.queries, rows), samples=49, seed=seed).together)
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_the_contributor_of_the_poisoned_pairs_is_told():
    pairs = pairs_with(0, rows=300, sources=["a", "b", "c"])
    bad = pairs_with(36, rows=300, sources=["a", "b", "c"])
    mine = {f"q{i}" for i in range(36) if i % 3 == 1}
    asked = [
        t if q in mine else p for q, t, p in zip(bad.queries.ids, bad.queries.texts, pairs.queries.texts, strict=True)
    ]
    texts = [
        t if f"q{d[1:]}" in mine else p
        for d, t, p in zip(bad.corpus.ids, bad.corpus.texts, pairs.corpus.texts, strict=True)
    ]
    poisoned = Pairs(
        type(pairs.corpus)(pairs.corpus.ids, pairs.corpus.titles, texts),
        type(pairs.queries)(pairs.queries.ids, asked, (), pairs.queries.metadata),
        pairs.rows,
    )
    told = verdict(None, audit_training(poisoned, samples=499, quota=0.4), false_alarms=0.05)
    sources = {row["source"]: row for row in told["training"]["sources"]}
    assert sources["b"]["flagged_p"] < 0.05 < min(sources["a"]["flagged_p"], sources["c"]["flagged_p"])
    assert sources["b"]["p"] < min(sources["a"]["p"], sources["c"]["p"])
    assert [row["pairs"] for row in sources.values()] == [100, 100, 100]
    tests = {test["test"]: test["found"] for test in told["tests"]}
    assert tests["contributors"]
    assert not tests["quota"]
    assert min(row["quota_p"] for row in sources.values()) > 0.9


def test_a_contributor_over_the_quota_is_told():
    audit = audit_training(pairs_with(0, rows=100, sources=["a", "a", "a", "b"]), quota=0.5, samples=49)
    p = {row["source"]: row["quota_p"] for row in audit.per_source()}
    assert p["a"] == pytest.approx(2 * stats.binomtest(75, 100, 0.5, alternative="greater").pvalue)
    assert verdict(None, audit, false_alarms=0.05)["found"]


def test_the_field_that_says_whose_a_pair_is():
    pairs = pairs_with(0, rows=20, sources=["a", "b"])
    assert set(audit_training(pairs, samples=9).sources) == {"a", "b"}
    assert set(audit_training(pairs_with(0, rows=20), samples=9).sources) == {""}
    with pytest.raises(DataError, match=r"--source-field sauce: .*\['source'\]; did you mean 'source'\?"):
        audit_training(pairs, source_field="sauce")
    with pytest.raises(DataError, match="they have no metadata"):
        audit_training(pairs_with(0, rows=20), source_field="source")
    with pytest.raises(DataError, match="no query with a positive"):
        audit_training(Pairs(pairs.corpus, pairs.queries, []))
