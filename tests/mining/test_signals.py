"""Signals through the stage: made when asked for, the same whatever the blocks."""

import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from embedkit.core.dataset import Dataset, read_dataset, write_dataset
from embedkit.core.pairs import read_pairs
from embedkit.core.records import Corpus, Queries, open_corpus, open_queries, read_corpus, read_qrels
from embedkit.core.stage import Artifact, Context
from embedkit.core.stats import read_stats
from embedkit.mining.candidates import retrieve
from embedkit.mining.fates import CANDIDATES
from embedkit.mining.fills import RandomFill, Repeat
from embedkit.mining.filters import Agreement, Judge, NearDuplicate, Owners, PercentOfPositive, SameGroup, Vote
from embedkit.mining.ground import Ground, blocks
from embedkit.mining.groups import ById, ByMetadata
from embedkit.mining.known import NEAR_QUERY
from embedkit.mining.pool import Pool
from embedkit.mining.sampling import MarginBins, Stratified
from embedkit.mining.signals import BUILT_IN, TEACHERS, Signals
from embedkit.mining.stage import Mine
from embedkit.mining.teacher import BM25
from embedkit.retrieval.encoder import open_encoder
from embedkit.retrieval.index import Exact, Searcher


@pytest.fixture
def inputs(tiny_dataset, tiny_model) -> dict[str, Artifact]:
    return {"data": tiny_dataset, "model": Artifact("a" * 64, tiny_model)}


def mine(**fields) -> Mine:
    return Mine(**{"data": "data", "model": "model", "negatives": 3, "top_k": 10, "filters": (), **fields})


def run(stage: Mine, inputs, folder: Path, context: Context) -> Path:
    """What the stage makes, in a work folder of its own."""
    folder.mkdir()
    work = folder.with_suffix(".work")
    work.mkdir()
    stage.run(inputs, folder, replace(context, work=work))
    return folder


def table(out: Path):
    return pq.read_table(out / CANDIDATES).to_pandas()


def test_signals_do_not_depend_on_blocks(inputs, context):
    data = inputs["data"].path
    corpus, queries = open_corpus(data, context.work), open_queries(data, context.work)
    qrels = read_qrels(data, "train")
    encoder = open_encoder(inputs["model"].path, context)
    ground = Ground.open(encoder, corpus, queries, qrels, context, near_queries=0.97)
    scorers = {"bm25": TEACHERS["bm25"].open(ground.documents, inputs, context)}
    signals = Signals.open([*BUILT_IN], scorers, ground, None)
    pool = Pool(Exact().open(ground.vectors), None)

    def made(size: int):
        return [retrieve(block, pool, signals, top_k=8) for block in blocks(ground, size)]

    (whole,), parts = made(10_000), made(7)
    assert set(whole.scores) == {"encoder", "bm25", *BUILT_IN}
    start = 0
    for part in parts:
        stop, width = start + len(part.query_ids), part.rows.shape[1]
        np.testing.assert_array_equal(whole.rows[start:stop, :width], part.rows)
        for name, scores in part.scores.items():
            np.testing.assert_array_equal(whole.scores[name][start:stop, :width], scores, err_msg=name)
        for a, b in zip(
            whole.positives["owner_similarity"][start:stop], part.positives["owner_similarity"], strict=True
        ):
            np.testing.assert_array_equal(a, b)
        start = stop
    assert start == len(ground)


def test_an_approximate_index_is_asked_for_as_many_in_every_block(inputs, context):
    """What it finds first depends on how many it is asked for, and the queries of a block exclude more or fewer."""

    class Asked(Searcher):
        exact = False
        facts: ClassVar = {}
        widths: ClassVar[set[int]] = set()

        def _search(self, queries, top_k, progress):
            self.widths.add(top_k)
            return Exact().search(queries, self.documents, top_k)

    data = inputs["data"].path
    corpus, queries = open_corpus(data, context.work), open_queries(data, context.work)
    encoder = open_encoder(inputs["model"].path, context)
    ground = Ground.open(encoder, corpus, queries, read_qrels(data, "train"), context, near_queries=0.97)
    assert len({block.known.most() for block in blocks(ground, 1)}) > 1
    for block in blocks(ground, 1):
        retrieve(block, Pool(Asked(ground.vectors), None), Signals({}, {}), top_k=8)
    assert Asked.widths == {16}


def test_bm25_is_there_without_being_named(inputs, tmp_path, context):
    rule = Agreement(threshold=0.6)
    found = table(run(mine(filters=(rule,)), inputs, tmp_path / "out", context))
    assert {"bm25", "positive_similarity"} <= set(found.columns)
    named = run(mine(filters=(rule,), signals={"bm25": BM25()}), inputs, tmp_path / "named", context)
    assert table(named)["reason"].tolist() == found["reason"].tolist()
    assert "bm25" not in table(run(mine(), inputs, tmp_path / "without", context)).columns


def test_own_bm25_takes_the_place_of_the_one_that_is_there():
    own = BM25(k1=0.5)
    assert mine(filters=(Agreement(),), signals={"bm25": own}).teachers == {"bm25": own}
    assert mine(filters=(Agreement(),)).teachers == {"bm25": BM25()}
    assert mine(filters=(Agreement(),), hybrid=({"kind": "bm25"},)).teachers == {}
    assert mine().teachers == {}


@pytest.mark.parametrize("sampling", [Stratified(seed=1, signal="bm25"), MarginBins(seed=1, signal="bm25")])
def test_a_sampling_may_ask_for_a_signal(inputs, tmp_path, context, sampling):
    out = run(mine(sampling=sampling), inputs, tmp_path / "out", context)
    assert "bm25" in table(out).columns
    assert all(len(row.negatives) == 3 for row in read_pairs(out).rows)


def test_owners_and_near_duplicates_drop_and_are_suspects(inputs, tmp_path, context):
    rules = (Owners(maximum=0.9), NearDuplicate(threshold=0.9))
    out = run(mine(filters=rules), inputs, tmp_path / "out", context)
    found, pairs = table(out), {row.query_id: row for row in read_pairs(out).rows}
    dropped = found[found.reason.isin(["owners", "near_duplicate"])]
    assert (found[found.reason == "owners"].owner_similarity > 0.9).all()
    assert (found[found.reason == "near_duplicate"].positive_similarity >= 0.9).all()
    assert len(dropped)
    for row in dropped.itertuples():
        assert row.doc_id in pairs[row.query_id].suspects


def grouped(inputs, folder: Path) -> Artifact:
    """The tiny data set with documents in groups of eight, by number and by metadata."""
    data = read_dataset(inputs["data"].path)
    numbers = range(len(data.corpus.ids))
    ids = {doc: f"page{i // 8}#{i}" for doc, i in zip(data.corpus.ids, numbers, strict=True)}
    metadata = [json.dumps({"page": i // 8}) for i in numbers]
    corpus = Corpus([*ids.values()], data.corpus.titles, data.corpus.texts, (), metadata)
    qrels = {s: {q: {ids[d]: r for d, r in docs.items()} for q, docs in some.items()} for s, some in data.qrels.items()}
    folder.mkdir()
    write_dataset(folder, Dataset(corpus, Queries(data.queries.ids, data.queries.texts), qrels))
    return Artifact("c" * 64, folder)


@pytest.mark.parametrize("groups", [ById(), ByMetadata(key="page")], ids=["id", "metadata"])
def test_no_negative_is_of_a_positives_group(inputs, tmp_path, context, groups):
    inputs["data"] = grouped(inputs, tmp_path / "data")
    out = run(mine(filters=(SameGroup(),), groups=groups), inputs, tmp_path / "out", context)
    for row in read_pairs(out).rows:
        pages = {doc.split("#")[0] for doc in row.positives}
        assert not pages & {doc.split("#")[0] for doc in row.negatives}
    assert {f["name"]: f["dropped"] for f in read_stats(out)["filters"]}["same_group"] > 0


def test_positives_of_near_queries_are_no_negatives_but_suspects(inputs, tmp_path, context):
    out = run(mine(near_queries=0.9), inputs, tmp_path / "out", context)
    dropped = table(out)
    dropped = dropped[dropped.reason == NEAR_QUERY]
    pairs = {row.query_id: row for row in read_pairs(out).rows}
    owned = {doc for row in pairs.values() for doc in row.known}
    assert len(dropped)
    for row in dropped.itertuples():
        pair = pairs[row.query_id]
        assert row.doc_id in pair.suspects
        assert row.doc_id not in {*pair.known, *pair.negatives}
        assert row.doc_id in owned


def test_fills_are_marked_and_scored(inputs, tmp_path, context):
    strict = (PercentOfPositive(ratio=0.97),)
    fewer = {r.query_id: r for r in read_pairs(run(mine(filters=strict), inputs, tmp_path / "none", context)).rows}
    assert any(len(row.negatives) < 3 for row in fewer.values())
    out = run(mine(filters=strict, fill=RandomFill(seed=1)), inputs, tmp_path / "random", context)
    candidates, encoder = table(out), open_encoder(inputs["model"].path, context)
    corpus, texts = read_corpus(out), read_pairs(out).query_texts()
    vectors = dict(zip(corpus.ids, encoder.documents(corpus.full_texts()), strict=True))
    seen = candidates.groupby("query_id").doc_id.agg(set)
    for row in read_pairs(out).rows:
        own = fewer[row.query_id].negatives
        assert row.negatives == (*own, *row.fills)
        assert len(row.negatives) == 3
        assert row.negative_ranks[len(own) :] == (0,) * len(row.fills)
        assert not set(row.fills) & {*row.known, *row.suspects, *seen[row.query_id]}
        scores = [vectors[doc] @ encoder.queries([texts[row.query_id]])[0] for doc in row.negatives]
        np.testing.assert_allclose(row.negative_scores, scores, atol=1e-6)
    assert candidates[candidates.reason == "chosen"].shape[0] == sum(len(row.negatives) for row in fewer.values())


def test_repeats_are_marked(inputs, tmp_path, context):
    strict = (PercentOfPositive(ratio=0.97),)
    rows = read_pairs(run(mine(filters=strict, fill=Repeat()), inputs, tmp_path / "out", context)).rows
    assert any(row.fills for row in rows)
    for row in rows:
        own = [doc for doc, rank in zip(row.negatives, row.negative_ranks, strict=True) if rank]
        assert len(set(own)) == len(own)
        assert set(row.fills) <= set(own)
        assert len(row.negatives) in (0, 3)
        assert len(row.fills) == row.negative_ranks.count(0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"filters": (SameGroup(),)}, "groups: a filter asks for same_group"),
        ({"filters": (Judge(signal="judge"),)}, r"filters.0.signal: nothing makes a signal 'judge'"),
        (
            {"filters": (Vote(votes=1, filters=(Judge(signal="bm52"), Owners())),)},
            r"filters.0.signal: .*'bm52'.*did you mean 'bm25'",
        ),
        ({"sampling": {"kind": "margin_bins", "seed": 1, "signal": "judge"}}, r"sampling.signal: nothing makes"),
        ({"signals": {"owner_similarity": BM25()}}, "signals.owner_similarity: mining has a signal of this name"),
        ({"signals": {"same_group": BM25()}}, "signals.same_group: mining has a signal of this name"),
        ({"near_queries": 1.5}, "less than or equal to 1"),
    ],
)
def test_bad_signals_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        mine(**fields)
