"""The stages end to end, on a random tiny model."""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from embedkit.core.dataset import Dataset, read_dataset, write_dataset
from embedkit.core.errors import DataError, EmbedkitError, StageError
from embedkit.core.estimate import Size
from embedkit.core.pairs import Pair, read_pairs
from embedkit.core.records import Corpus, Queries, read_corpus, read_qrels
from embedkit.core.stage import Artifact, Context
from embedkit.core.stats import read_stats
from embedkit.mining import grading
from embedkit.mining.fates import CANDIDATES, COLUMNS
from embedkit.mining.fills import RandomFill
from embedkit.mining.filters import PercentOfPositive, RankWindow, ScoreRange
from embedkit.mining.fusion import MinMax
from embedkit.mining.hybrid import BM25Search
from embedkit.mining.sampling import Random
from embedkit.mining.stage import Mine
from embedkit.mining.teach import Teach
from embedkit.mining.teacher import BM25, Encoder
from embedkit.retrieval.index import Faiss

KEEP = (PercentOfPositive(ratio=0.999),)


@pytest.fixture
def inputs(tiny_dataset, tiny_model, other_tiny_model) -> dict[str, Artifact]:
    return {
        "data": tiny_dataset,
        "model": Artifact("a" * 64, tiny_model),
        "other": Artifact("b" * 64, other_tiny_model),
    }


def fresh(folder: Path, events: list | None = None) -> Context:
    (folder / "work").mkdir(parents=True)
    keep = (lambda event, facts: events.append(event)) if events is not None else (lambda event, facts: None)
    return Context(work=folder / "work", embeddings=folder / "embeddings", emit=keep)


def run(stage, inputs, folder: Path, context: Context | None = None) -> Path:
    out = folder / "out"
    out.mkdir(parents=True)
    stage.run(inputs, out, context or fresh(folder))
    return out


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def mine(**fields) -> Mine:
    return Mine(**{"data": "data", "model": "model", "negatives": 3, "top_k": 10, "filters": KEEP, **fields})


def test_mined_pairs_keep_what_must_hold(inputs, tmp_path):
    out = run(mine(), inputs, tmp_path)
    pairs, data = read_pairs(out), read_dataset(inputs["data"].path)
    assert [row.query_id for row in pairs.rows] == list(data.qrels["train"])
    assert sum(len(row.negatives) for row in pairs.rows) > len(pairs.rows)
    texts = pairs.document_texts()
    for row in pairs.rows:
        assert set(row.positives) == set(data.qrels["train"][row.query_id])
        assert set(row.positives) <= set(row.known)
        assert not set(row.negatives) & set(row.known)
        assert not {texts[d] for d in row.negatives} & {texts[d] for d in row.known}
        assert len(row.negatives) == len(row.negative_scores) <= 3
        assert len(row.positives) == len(row.positive_scores)
        assert list(row.negative_scores) == sorted(row.negative_scores, reverse=True)
        assert all(score <= min(row.positive_scores) for score in row.negative_scores)


def test_scores_are_the_models_own(inputs, tmp_path, tiny_model):
    from sentence_transformers import SentenceTransformer

    pairs = read_pairs(run(mine(), inputs, tmp_path))
    model, documents, queries = SentenceTransformer(str(tiny_model)), pairs.document_texts(), pairs.query_texts()
    for row in pairs.rows[:5]:
        query = model.encode(queries[row.query_id])
        found = model.encode([documents[d] for d in (*row.positives, *row.negatives)]) @ query
        np.testing.assert_allclose(found, [*row.positive_scores, *row.negative_scores], atol=1e-4)


@pytest.mark.parametrize("sampling", [{}, {"sampling": Random(seed=4)}], ids=["top", "random"])
def test_two_runs_in_two_stores_are_equal_byte_for_byte(inputs, tmp_path, sampling):
    stage = mine(**sampling)
    one, two = run(stage, inputs, tmp_path / "one"), run(stage, inputs, tmp_path / "two")
    assert digests(one) == digests(two)
    assert set(digests(one)) == {"corpus.parquet", "queries.parquet", "pairs.parquet", CANDIDATES, "stats.json"}


def test_another_ratio_encodes_nothing_again(inputs, tmp_path):
    events: list[str] = []
    context = fresh(tmp_path, events)
    one = run(mine(), inputs, tmp_path / "one", context)
    assert "shard_written" in events
    assert "block_mined" in events
    events.clear()
    (tmp_path / "work2").mkdir()
    again = replace(context, work=tmp_path / "work2")
    two = run(mine(filters=(PercentOfPositive(ratio=0.99),)), inputs, tmp_path / "two", again)
    assert "shard_written" not in events
    assert digests(one)["pairs.parquet"] != digests(two)["pairs.parquet"]


def test_a_run_stopped_after_the_search_does_not_search_again(inputs, tmp_path):
    events: list[str] = []
    context = fresh(tmp_path, events)
    one = run(mine(), inputs, tmp_path / "one", context)
    events.clear()
    two = run(mine(), inputs, tmp_path / "two", context)
    assert events == ["index_opened"]
    assert digests(one) == digests(two)


def test_every_candidate_is_kept_with_its_fate(inputs, tmp_path):
    out = run(mine(filters=(*KEEP, RankWindow(last=4))), inputs, tmp_path)
    table, stats = pq.read_table(out / CANDIDATES).to_pylist(), read_stats(out)
    fates = [row["reason"] for row in table]
    assert len(table) == stats["counts"]["candidates"]
    assert fates.count("chosen") == stats["counts"]["negatives"]
    for drop in stats["filters"]:
        assert fates.count(drop["name"]) == drop["dropped"]
    assert stats["filters"][0]["name"] == "known_positive"
    negatives = {row.query_id: list(row.negatives) for row in read_pairs(out).rows}
    for query, docs in negatives.items():
        rows = [r for r in table if r["query_id"] == query]
        assert [r["doc_id"] for r in rows if r["reason"] == "chosen"] == docs
        ranks = [r["rank"] for r in rows if r["reason"] != "known_positive"]
        assert ranks == list(range(1, 11))  # top_k besides the known positives


def test_suspects_are_what_a_false_negative_filter_dropped(inputs, tmp_path):
    out = run(mine(filters=(RankWindow(first=2, last=9), PercentOfPositive(ratio=0.97))), inputs, tmp_path)
    table, rows = pq.read_table(out / CANDIDATES).to_pylist(), read_pairs(out).rows
    count = 0
    for row in rows:
        limit = np.float32(0.97) * min(row.positive_scores)
        found = [r for r in table if r["query_id"] == row.query_id and r["reason"] != "known_positive"]
        assert list(row.suspects) == [r["doc_id"] for r in found if r["score"] > limit]
        assert not set(row.suspects) & {*row.negatives, *row.known}
        count += len(row.suspects)
    assert read_stats(out)["counts"]["suspects"] == count > 0


def test_stats_say_what_was_mined(inputs, tmp_path):
    out = run(mine(), inputs, tmp_path)
    stats, rows = read_stats(out), read_pairs(out).rows
    found = [len(row.negatives) for row in rows]
    counts = stats["counts"]
    assert counts["queries"] == len(rows)
    assert counts["negatives"] == sum(found) == stats["histograms"]["negatives"]["n"]
    assert counts["queries_without"] == found.count(0)
    assert counts["queries_with_fewer"] == sum(0 < n < 3 for n in found)
    groups = stats["histograms"].values()
    assert {(g["low"], g["high"]) for g in groups} == {
        (stats["histograms"]["positives"]["low"], next(iter(groups))["high"])
    }
    assert stats["hubs"][0]["queries"] >= stats["hubs"][-1]["queries"] >= 1
    assert len(stats["summary"]) == 4
    assert stats["summary"][-1] == f"search: exact on {stats['search']['device']}"
    assert stats["search"]["index"] == "exact"
    json.dumps(stats, allow_nan=False)


def small_dataset(folder: Path) -> Artifact:
    """Three train queries, two of the same text; a document that doubles a relevant one; one that is the query."""
    ids = [f"d{i}" for i in range(6)]
    texts = ["list file", "show page", "LIST  file", "copy disk", "move group", "open port"]
    qrels = {"train": {"q0": {"d0": 1}, "q1": {"d1": 1}, "q2": {"d3": 1, "d4": 0}}}
    queries = Queries(["q0", "q1", "q2"], ["print it", "Print it", "open port"])
    folder.mkdir(parents=True)
    write_dataset(folder, Dataset(Corpus(ids, [""] * 6, texts), queries, qrels))
    return Artifact("c" * 64, folder)


def test_what_is_known_is_never_a_negative(inputs, tmp_path):
    inputs["data"] = small_dataset(tmp_path / "data")
    out = run(mine(negatives=5, filters=()), inputs, tmp_path)
    rows = {row.query_id: row for row in read_pairs(out).rows}
    assert rows["q0"].known == ("d0", "d1", "d2")
    assert set(rows["q0"].negatives) == {"d3", "d4", "d5"}
    assert set(rows["q1"].negatives) == {"d3", "d4", "d5"}
    assert set(rows["q2"].negatives) == {"d0", "d1", "d2", "d4"}  # judged irrelevant is no reason to spare it
    assert [rows[query].suspects for query in ("q0", "q1", "q2")] == [(), (), ("d5",)]  # it has the query's text
    dropped = {row["name"]: row["dropped"] for row in read_stats(out)["filters"]}
    assert dropped == {"known_positive": 5, "duplicate_of_positive": 2, "same_text_as_query": 1}


def test_filters_that_leave_nothing_are_an_error(inputs, tmp_path):
    with pytest.raises(StageError, match=r"no query has a candidate that may be a negative .* loosen the filters"):
        run(mine(filters=(ScoreRange(maximum=-5.0),)), inputs, tmp_path)


def test_a_split_without_queries_is_an_error(inputs, tmp_path):
    inputs["data"] = small_dataset(tmp_path / "data")
    with pytest.raises(DataError, match="nothing to mine for"):
        run(mine(split="dev"), inputs, tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"top_k": 2}, "top_k is 2, fewer than the 3 negatives"),
        ({"filters": (PercentOfPositive(signal="judge"),)}, r"filters.0.signal: nothing makes a signal 'judge'"),
        ({"sampling": {"kind": "random"}}, "seed"),
        ({"split": "test"}, "'train' or 'dev'"),
        ({"signals": {"encoder": BM25()}}, "signals.encoder: mining has a signal of this name already"),
        ({"signals": {"score": BM25()}}, "signals.score: candidates.parquet has a column of this name"),
    ],
)
def test_bad_fields_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        mine(**fields)


def teach(**fields) -> Teach:
    defaults = {
        "pairs": "mined",
        "data": "data",
        "student": "model",
        "teachers": (BM25(), Encoder(model="other", weight=0.1)),
        "depth": 20,
    }
    return Teach(**{**defaults, **fields})


@pytest.mark.parametrize("make", [mine, teach])
def test_a_missing_faiss_is_told_before_anything_runs(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(EmbedkitError, match="FAISS is not installed"):
        make(index=Faiss()).facts()
    assert make().facts() == {}


@pytest.fixture
def mined(inputs, tmp_path) -> dict[str, Artifact]:
    return {**inputs, "mined": Artifact("e" * 64, run(mine(), inputs, tmp_path / "mined"))}


def test_targets_are_the_teachers_of_every_document(mined, tmp_path):
    out = run(teach(), mined, tmp_path)
    before, after = read_pairs(mined["mined"].path).rows, read_pairs(out).rows
    for old, new in zip(before, after, strict=True):
        assert replace(new, positive_targets=(), negative_targets=()) == old
        assert len(new.positive_targets) == len(old.positives)
        assert len(new.negative_targets) == len(old.negatives)
    stats = read_stats(out)
    rerank = stats["rerank"]
    assert rerank["fused"] > rerank["student"]  # words decide in this data set, and BM25 sees them
    assert [t["kind"] for t in rerank["teachers"]] == ["bm25", "encoder"]
    assert rerank["teachers"][1]["model"] == "b" * 64
    assert rerank["queries"] == len(read_qrels(mined["data"].path, "dev"))
    assert f"student {rerank['student']:.3f}" in stats["summary"][0]
    assert f"fused {rerank['fused']:.3f}" in stats["summary"][0]
    assert stats["counts"]["scored_pairs"] >= 20 * len(after)


def test_targets_are_fused_over_the_students_best_documents(mined, tmp_path, tiny_model):
    """One row by hand: BM25 alone, min-max over the pool."""
    from sentence_transformers import SentenceTransformer

    from embedkit.mining.bm25 import BM25Index

    out = run(teach(teachers=(BM25(),), fusion=MinMax()), mined, tmp_path)
    corpus, pairs = read_corpus(out), read_pairs(out)
    model, row = SentenceTransformer(str(tiny_model)), pairs.rows[3]
    query = pairs.query_texts()[row.query_id]
    similarity = model.encode(corpus.full_texts()) @ model.encode(query)
    own = [corpus.ids.index(d) for d in (*row.positives, *row.negatives)]
    pool = sorted({*np.argsort(-similarity)[:20].tolist(), *own})
    scores = BM25Index.open(corpus.full_texts(), tmp_path / "index", k1=1.2, b=0.75).scores(query)
    low, high = min(scores[pool]), max(scores[pool])
    expected = [(scores[i] - low) / (high - low) for i in own]
    np.testing.assert_allclose([*row.positive_targets, *row.negative_targets], expected, atol=1e-5)


def test_teaching_twice_gives_equal_bytes(mined, tmp_path):
    assert digests(run(teach(), mined, tmp_path / "one")) == digests(run(teach(), mined, tmp_path / "two"))


def test_a_teacher_no_better_than_the_student_is_refused(mined, tmp_path):
    stage = teach(teachers=(Encoder(model="model"),))
    with pytest.raises(StageError, match=r"ndcg@10 0\.\d{4} against 0\.\d{4} on 24 queries\. .* if_not_better: warn"):
        run(stage, mined, tmp_path / "refused")
    out = run(stage.model_copy(update={"if_not_better": "warn"}), mined, tmp_path / "warned")
    stats = read_stats(out)
    assert stats["rerank"]["fused"] == stats["rerank"]["student"]
    assert "no better than the student" in stats["warnings"][0]


def test_negatives_above_their_positive_are_counted_and_can_be_dropped(mined, tmp_path):
    stage = teach(teachers=(Encoder(model="other"),), if_not_better="warn")
    also = stage.model_copy(update={"drop_above_positive": True})
    kept, dropped = run(stage, mined, tmp_path / "kept"), run(also, mined, tmp_path / "dropped")
    above = [[target > min(row.positive_targets) for target in row.negative_targets] for row in read_pairs(kept).rows]
    count = sum(map(sum, above))
    assert read_stats(kept)["counts"]["negatives_above_positive"] == count > 0
    assert read_stats(kept)["counts"]["negatives_dropped"] == 0
    assert read_stats(dropped)["counts"]["negatives_dropped"] == count
    for all_of, rest, marks in zip(read_pairs(kept).rows, read_pairs(dropped).rows, above, strict=True):
        assert rest.negatives == tuple(d for d, mark in zip(all_of.negatives, marks, strict=True) if not mark)
        assert len(rest.negatives) == len(rest.negative_scores) == len(rest.negative_targets)
        moved = tuple(d for d, mark in zip(all_of.negatives, marks, strict=True) if mark)
        assert rest.suspects == (*all_of.suspects, *moved)
        ranks = dict(zip(all_of.negatives, all_of.negative_ranks, strict=True))
        assert rest.negative_ranks == tuple(ranks[d] for d in rest.negatives)


def test_a_fill_that_is_dropped_is_no_fill_any_more(inputs, tmp_path):
    filled = run(mine(negatives=6, top_k=6, filters=(RankWindow(first=4),), fill=RandomFill(seed=1)), inputs, tmp_path)
    assert all(row.fills for row in read_pairs(filled).rows)
    inputs["mined"] = Artifact("e" * 64, filled)
    stage = teach(teachers=(Encoder(model="other"),), if_not_better="warn", drop_above_positive=True)
    rows = read_pairs(run(stage, inputs, tmp_path / "taught")).rows
    assert sum(len(row.negatives) for row in rows) < sum(len(row.negatives) for row in read_pairs(filled).rows)
    for row in rows:
        assert len(row.negative_ranks) == len(row.negatives)
        assert {d for d, rank in zip(row.negatives, row.negative_ranks, strict=True) if rank == 0} == set(row.fills)


def test_no_signal_is_called_as_a_column_of_the_candidates(inputs, tmp_path):
    signals = {"words": BM25()}
    out = run(mine(hybrid=(BM25Search(),), signals=signals), inputs, tmp_path)
    assert set(pq.read_schema(out / CANDIDATES).names) == {*COLUMNS, *signals}


def test_grading_goes_on_where_it_was_stopped_and_blocks_do_not_matter(mined, tmp_path, monkeypatch):
    whole = run(teach(), mined, tmp_path / "whole")
    monkeypatch.setattr(grading, "BLOCK", 20)
    graded: list[int] = []

    def stop(event, facts):
        if event == "block_graded":
            graded.append(facts["first"])
            if len(graded) == 2:
                raise KeyboardInterrupt

    context = replace(fresh(tmp_path / "parts"), emit=stop)
    with pytest.raises(KeyboardInterrupt):
        run(teach(), mined, tmp_path / "stopped", context)
    out = run(teach(), mined, tmp_path / "parts", context)
    assert graded == [0, 20, 40, 60]  # of 72 queries; the first two are not graded again
    assert digests(out) == digests(whole)


def test_pairs_of_another_corpus_are_refused(mined, tmp_path):
    mined["data"] = small_dataset(tmp_path / "data")
    with pytest.raises(DataError, match="no dev query has a relevant document"):
        run(teach(), mined, tmp_path / "one")
    with pytest.raises(DataError, match=r"teach scores pairs over the corpus of `data`; document 'd\d+' (is not|has)"):
        run(teach(split="train", if_not_better="warn"), mined, tmp_path / "two")


def test_a_dataset_can_be_taught_without_mining(inputs, tmp_path):
    out = run(teach(pairs="data"), inputs, tmp_path)
    rows: list[Pair] = list(read_pairs(out).rows)
    assert all(len(row.positive_targets) == 1 and row.negatives == () for row in rows)


def test_estimates_grow_with_the_work():
    model = Size(parameters=1000, active_parameters=800, dimensions=32, max_tokens=16)
    sizes = {"data": Size(documents=60, queries=120, pairs=72, document_tokens=12, query_tokens=4), "model": model}
    estimate = mine().estimate(sizes)
    assert estimate.rows == 132
    assert estimate.tokens == 60 * 12 + 72 * 4
    assert estimate.size.documents_per_pair == 4
    assert estimate.size.pairs == 72
    assert estimate.flops > 2 * 800 * estimate.tokens
    assert mine(negatives=7).estimate(sizes).size.documents_per_pair == 8
    long = replace(sizes["data"], document_tokens=1000.0)
    assert mine().estimate({**sizes, "data": long}).tokens == 60 * 16 + 72 * 4
    taught = teach().estimate({**sizes, "mined": estimate.size, "other": model})
    assert taught.size == estimate.size
    assert taught.flops > teach(teachers=(BM25(),)).estimate({**sizes, "mined": estimate.size}).flops


@pytest.mark.parametrize("hybrid", [(), (BM25Search(),)], ids=["encoder", "hybrid"])
def test_among_positives_only_what_is_relevant_to_some_query_is_a_negative(inputs, tmp_path, hybrid):
    qrels = read_qrels(inputs["data"].path, "train")
    relevant = {doc for docs in qrels.values() for doc, grade in docs.items() if grade > 0}
    fields = {"among": "positives", "filters": (), "fill": RandomFill(seed=1), "negatives": 10, "top_k": 10}
    out = run(mine(**fields, hybrid=hybrid), inputs, tmp_path)
    rows = read_pairs(out).rows
    chosen = {doc for row in rows for doc in row.negatives}
    assert len(read_corpus(inputs["data"].path)) > len(relevant) >= len(chosen) > 10
    assert chosen <= relevant
    assert {row["doc_id"] for row in pq.read_table(out / CANDIDATES).to_pylist()} <= relevant  # nobody looks outside
