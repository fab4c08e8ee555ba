"""Several retrievers' candidates as one list."""

from dataclasses import replace
from itertools import pairwise
from typing import get_args

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from embedkit.core.records import open_corpus, open_queries, read_qrels
from embedkit.core.spec import Reference, marked
from embedkit.core.stage import Artifact, Context
from embedkit.mining.bm25 import BM25Index
from embedkit.mining.candidates import retrieve
from embedkit.mining.fates import CANDIDATES
from embedkit.mining.filters import NONE, MarginToPositive, RankWindow
from embedkit.mining.ground import Ground, blocks
from embedkit.mining.hybrid import AnyRetriever, BM25Search, EncoderSearch, Hybrid, names_of
from embedkit.mining.pool import Pool
from embedkit.mining.signals import Signals
from embedkit.mining.stage import Mine
from embedkit.retrieval.encoder import open_encoder
from embedkit.retrieval.index import Exact
from tests.oracles import fused_by_hand

TOP_K = 10


@pytest.fixture
def inputs(tiny_dataset, tiny_model, other_tiny_model) -> dict[str, Artifact]:
    models = {"model": Artifact("a" * 64, tiny_model), "other": Artifact("b" * 64, other_tiny_model)}
    return {"data": tiny_dataset, **models}


@pytest.fixture
def ground(inputs, context) -> Ground:
    data = inputs["data"].path
    corpus, queries = open_corpus(data, context.work), open_queries(data, context.work)
    return Ground.open(open_encoder(inputs["model"].path, context), corpus, queries, read_qrels(data, "train"), context)


def found(ground: Ground, inputs, context: Context, retrievers, *, size: int = 10_000, some=None):
    """Candidates of all queries, retrieved in blocks of `size`."""
    hybrid = Hybrid.open(retrievers, ground, inputs, context, some=some)
    pool = Pool.open(Exact(), ground.vectors, some, ground.queries, context)
    return [retrieve(b, pool, Signals({}, {}), top_k=TOP_K, hybrid=hybrid) for b in blocks(ground, size)]


def test_members():
    assert set(get_args(get_args(AnyRetriever)[0])) == {BM25Search, EncoderSearch}


def test_names_are_kinds_and_numbered():
    several = (BM25Search(), EncoderSearch(model="m"), BM25Search(k1=2.0), EncoderSearch(model="n"))
    assert names_of(several) == ("bm25", "encoder_2", "bm25_2", "encoder_3")


def test_equals_fusion_by_hand(ground, inputs, context):
    """Each list is cut to the query's ten best candidates besides excluded documents, fused, and cut again."""
    (candidates,) = found(ground, inputs, context, (BM25Search(weight=1.05),))
    index = BM25Index.open(ground.documents, context.work / "by-hand", k1=1.2, b=0.75)
    vectors = ground.vectors[:]
    known = ground.judgements.known(range(len(ground)))
    for query in range(len(ground)):
        excluded = {int(row) for lists in known.reasons().values() for row in lists[query]}
        own, words = vectors @ ground.queries[query : query + 1][0], index.scores(ground.texts[query])
        lists = []
        for scores in (own, words):
            order = sorted(range(len(own)), key=lambda row: (-scores[row], row))
            order = [row for row in order if scores is own or scores[row] > 0]
            wanted = [row for row in order if row not in excluded][:TOP_K]
            last = order.index(wanted[-1]) if len(wanted) == TOP_K else len(order)
            lists.append([(row, float(scores[row])) for row in order[: last + 1]])
        expected = fused_by_hand(lists, [1.0, 1.05], 60)
        eligible = [row for row in expected if row not in excluded][:TOP_K]
        rows = candidates.rows[query][candidates.rows[query] != NONE].tolist()
        assert [row for row in rows if row not in excluded] == eligible
        for name, of_list in zip(("encoder", "bm25"), lists, strict=True):
            there = {row for row, _ in of_list}
            marks = candidates.found_by[name][query][: len(rows)]
            assert marks.tolist() == [row in there for row in rows]
        np.testing.assert_allclose(candidates.scores["encoder"][query][: len(rows)], own[rows], atol=1e-6)
    only_words = candidates.found_by["bm25"] & ~candidates.found_by["encoder"]
    assert only_words.any()
    assert (candidates.found_by["encoder"] & ~candidates.found_by["bm25"]).any()


def test_the_encoders_scores_are_exact_whoever_found_a_document(ground, inputs, context):
    (candidates,) = found(ground, inputs, context, (BM25Search(),))
    rows, scores = Exact().search(ground.queries[:], ground.vectors, len(ground.documents))
    for query, own in enumerate(candidates.rows):
        exact = dict(zip(rows[query].tolist(), scores[query].tolist(), strict=True))
        assert candidates.scores["encoder"][query].tolist()[: sum(own != NONE)] == [exact[r] for r in own[own != NONE]]


def test_blocks_change_nothing(ground, inputs, context):
    retrievers = (BM25Search(), EncoderSearch(model="other", weight=2.0))
    (whole,) = found(ground, inputs, context, retrievers)
    width = whole.rows.shape[1]
    for size in (1, 7):
        parts = found(ground, inputs, context, retrievers, size=size)
        for name in ("rows", "encoder"):
            arrays = [part.rows if name == "rows" else part.scores[name] for part in parts]
            fill = NONE if name == "rows" else np.nan
            padded = [np.pad(a, ((0, 0), (0, width - a.shape[1])), constant_values=fill) for a in arrays]
            expected = whole.rows if name == "rows" else np.where(whole.rows == NONE, np.nan, whole.scores[name])
            masked = np.concatenate(padded)
            masked = masked if name == "rows" else np.where(whole.rows == NONE, np.nan, masked)
            np.testing.assert_array_equal(masked, expected)


def test_a_retriever_that_finds_nothing_changes_nothing(ground, inputs, context):
    wordless = replace(ground, texts=["?!"] * len(ground))
    (alone,), (both,) = found(ground, inputs, context, ()), found(wordless, inputs, context, (BM25Search(),))
    np.testing.assert_array_equal(both.rows, alone.rows)
    assert not both.found_by["bm25"].any()
    assert alone.found_by == {}


def test_of_a_part_of_the_corpus_no_retriever_gives_less_or_others(ground, inputs, context):
    """As many candidates as there are documents of that part, whatever stands before them elsewhere."""
    some = np.arange(0, len(ground.documents), 4)
    (candidates,) = found(ground, inputs, context, (BM25Search(), EncoderSearch(model="other")), some=some)
    assert set(np.unique(candidates.rows)) - {NONE} <= set(some.tolist())
    assert (candidates.eligible.sum(axis=1) == TOP_K).all()
    for name in ("encoder", "encoder_2"):
        assert ((candidates.found_by[name] & candidates.eligible).sum(axis=1) > 0).all()


def mine(**fields) -> Mine:
    defaults = {"data": "data", "model": "model", "negatives": 3, "top_k": TOP_K, "filters": (RankWindow(),)}
    return Mine(**{**defaults, **fields})


def run(stage, inputs, folder) -> list[dict]:
    out = folder / "out"
    for path in (out, folder / "work"):
        path.mkdir(parents=True)
    stage.run(inputs, out, Context(work=folder / "work", embeddings=folder / "embeddings"))
    return pq.read_table(out / CANDIDATES).to_pylist()


def test_the_stage_tells_who_found_what(inputs, tmp_path):
    table = run(mine(hybrid=(BM25Search(), EncoderSearch(model="other"))), inputs, tmp_path)
    kinds = {tuple(row["found_by"]) for row in table}
    assert {("encoder",), ("bm25",), ("encoder_2",), ("encoder", "bm25", "encoder_2")} <= kinds
    assert {name for kind in kinds for name in kind} == {"encoder", "bm25", "encoder_2"}
    scores = [row["score"] for row in table if row["query_id"] == table[0]["query_id"]]
    assert any(a < b for a, b in pairwise(scores))  # fused order is not the encoder's
    assert "found_by" not in run(mine(), inputs, tmp_path / "alone")[0]


def test_a_filter_may_ask_for_a_retrievers_scores(inputs, tmp_path):
    rule = MarginToPositive(signal="bm25", margin=0.5)
    table = run(mine(hybrid=(BM25Search(),), filters=(rule,)), inputs, tmp_path)
    assert {row["reason"] for row in table} > {"chosen", "margin_to_positive"}
    kept = [row for row in table if row["rank"]]
    assert all(np.isfinite(row["bm25"]) for row in kept)
    assert "bm25" not in run(mine(hybrid=(BM25Search(),)), inputs, tmp_path / "unasked")[0]


def test_names_must_not_clash():
    with pytest.raises(ValidationError, match=r"signals\.bm25: mining has a signal of this name already"):
        mine(hybrid=({"kind": "bm25"},), signals={"bm25": {"kind": "bm25"}})
    with pytest.raises(ValidationError, match="nothing makes a signal 'encoder_2'"):
        mine(filters=(MarginToPositive(signal="encoder_2"),))


def test_the_model_of_a_retriever_is_a_reference():
    found = {where: value for where, value, _ in marked(mine(hybrid=(EncoderSearch(model="other"),)), Reference)}
    assert found["hybrid", 0, "model"] == "other"
