"""Approximate indexes say how much they find, find what they say, and keep what they built."""

import json
import logging

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from embedkit.core.errors import DataError, EmbedkitError
from embedkit.retrieval.exact import Exact
from embedkit.retrieval.index import HNSW, IVF, AnyIndex
from embedkit.retrieval.nearest import dot_scores
from embedkit.retrieval.recall import hit_rates

INDEXES = [IVF(), IVF(lists=9), HNSW(neighbours=8, ef_construction=40)]


def clustered(n, *, seed, dim=16, centres=20):
    rng = np.random.default_rng(seed)
    found = np.random.default_rng(9).normal(size=(centres, dim))[rng.integers(0, centres, n)] + rng.normal(
        size=(n, dim)
    )
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


QUERIES, DOCUMENTS = clustered(150, seed=1), clustered(2000, seed=2)


def by_hand(found, truth):
    return np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found.tolist(), truth.tolist(), strict=True)])


@pytest.mark.parametrize("index", INDEXES)
def test_the_recall_that_is_told_is_what_is_found(index):
    searcher = index.open(DOCUMENTS, queries=QUERIES, top_k=10)
    rows, scores = searcher.search(QUERIES, 10)
    truth, _ = Exact().search(QUERIES, DOCUMENTS, 10)
    told = searcher.facts["recall"]
    assert told["value"] == pytest.approx(by_hand(rows, truth))  # all queries are in the sample
    assert told["value"] >= 0.99
    assert 0.9 < told["low"] <= told["value"] <= told["high"] <= 1
    assert (told["sample"], told["of"], told["top_k"]) == (150, "queries", 10)
    np.testing.assert_array_equal(scores, dot_scores(QUERIES, DOCUMENTS, rows))
    assert all(len(set(some)) == 10 for some in rows.tolist())
    order = np.lexsort((rows, -scores), axis=1)
    assert (order == np.arange(10)).all()


@pytest.mark.parametrize(("recall", "least"), [(0.8, 0.8), (0.99, 0.99)])
def test_lists_are_probed_until_the_recall_is_there(recall, least):
    facts = IVF(lists=40, recall=recall).open(DOCUMENTS, queries=QUERIES, top_k=10).facts
    one = IVF(lists=40, probes=1).open(DOCUMENTS, queries=QUERIES, top_k=10).facts
    assert (one["probes"], one["recall"]["value"] < 0.7) == (1, True)
    assert facts["probes"] > 1
    assert facts["recall"]["value"] >= least


def test_a_graph_is_searched_wider_until_the_recall_is_there():
    index = HNSW(neighbours=4, ef_construction=40, recall=0.95)
    facts = index.open(DOCUMENTS, queries=QUERIES, top_k=10).facts
    narrow = HNSW(neighbours=4, ef_construction=40, ef_search=1).open(DOCUMENTS, queries=QUERIES, top_k=10).facts
    assert facts["recall"]["value"] >= 0.95 > narrow["recall"]["value"]
    assert facts["ef_search"] > 26


def test_no_fewer_probes_would_do():
    tuned = IVF(recall=0.9).open(DOCUMENTS, queries=QUERIES, top_k=20).facts["probes"]
    assert tuned > 1
    fewer = IVF(recall=0.9, probes=tuned - 1).open(DOCUMENTS, queries=QUERIES, top_k=20)
    assert fewer.facts["recall"]["value"] < 0.9


def test_all_lists_are_exact_search():
    searcher = IVF(lists=12, probes=12).open(DOCUMENTS)
    for found, true in zip(searcher.search(QUERIES, 50), Exact().search(QUERIES, DOCUMENTS, 50), strict=True):
        np.testing.assert_array_equal(found, true)


@pytest.mark.parametrize("index", INDEXES)
def test_blocks_of_queries_change_nothing(index):
    searcher = index.open(DOCUMENTS, queries=QUERIES)
    whole = searcher.search(QUERIES, 30)
    parts = [searcher.search(QUERIES[start : start + 40], 30) for start in range(0, 150, 40)]
    for i in (0, 1):
        np.testing.assert_array_equal(np.concatenate([part[i] for part in parts]), whole[i])


@pytest.mark.parametrize("index", INDEXES)
def test_fewer_documents_than_wanted_and_nearly_so(index):
    documents = np.vstack([DOCUMENTS[:40], np.zeros((5, 16), np.float32)])
    searcher = index.open(documents, queries=QUERIES, top_k=3)
    for top_k in (44, 45, 99):
        rows, scores = searcher.search(QUERIES, top_k)
        truth = Exact().search(QUERIES, documents, top_k)
        assert rows.shape == (150, min(top_k, 45))
        assert (rows >= 0).all()
        assert np.isfinite(scores).all()
        if top_k > 44:
            np.testing.assert_array_equal(rows, truth[0])


def test_lists_too_short_for_what_is_wanted_lead_to_more_lists():
    searcher = IVF(lists=40, probes=1).open(DOCUMENTS, queries=QUERIES, top_k=5)
    rows, _ = searcher.search(QUERIES, 400)
    assert (rows >= 0).all()
    assert (searcher.facts["searched_exactly"], searcher.facts["probes"]) == (0, 1)
    few = searcher.search(QUERIES, 5)
    np.testing.assert_array_equal(few, IVF(lists=40, probes=1).open(DOCUMENTS, queries=QUERIES).search(QUERIES, 5))


@pytest.mark.parametrize("index", [IVF(), HNSW(neighbours=8, ef_construction=20)])
def test_what_was_built_is_found_again(index, tmp_path, caplog):
    first = index.open(DOCUMENTS, tmp_path, queries=QUERIES)
    again = index.open(DOCUMENTS, tmp_path, queries=QUERIES)
    assert (first.facts["build"]["reused"], again.facts["build"]["reused"]) == (False, True)
    np.testing.assert_array_equal(first.search(QUERIES, 10)[0], again.search(QUERIES, 10)[0])
    others = index.open(DOCUMENTS[::-1].copy(), tmp_path, queries=QUERIES)
    assert others.facts["build"]["reused"] is False
    assert len(list(tmp_path.iterdir())) == 2
    assert not caplog.records or all(record.levelno < logging.WARNING for record in caplog.records)


@pytest.mark.parametrize("index", [IVF(), HNSW(neighbours=8, ef_construction=20)])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "contents"])
def test_what_is_damaged_is_built_again(index, tmp_path, damage, caplog):
    whole = index.open(DOCUMENTS, tmp_path).search(QUERIES, 10)
    [folder] = tmp_path.iterdir()
    victim = max(folder.iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(victim.read_bytes())
    if damage == "truncate":
        victim.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        victim.write_bytes(content)
    elif damage == "remove":
        victim.unlink()
    else:
        (folder / "contents.json").write_text(json.dumps({"key": 1}))
    again = index.open(DOCUMENTS, tmp_path)
    assert again.facts["build"]["reused"] is False
    assert "building it again" in caplog.text
    np.testing.assert_array_equal(again.search(QUERIES, 10)[0], whole[0])


def test_a_draft_of_a_killed_build_is_no_index(tmp_path, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("embedkit.retrieval.kept.write_atomically", die)
        with pytest.raises(KeyboardInterrupt):
            IVF().open(DOCUMENTS, tmp_path)
    assert IVF().open(DOCUMENTS, tmp_path).facts["build"]["reused"] is False


@pytest.mark.parametrize("index", INDEXES)
def test_a_folder_that_cannot_be_written_is_told(index, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbedkitError, match="the index cannot be kept there") as error:
        index.open(DOCUMENTS, tmp_path / "file" / "work")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("index", INDEXES)
def test_what_does_not_fit_is_told(index):
    with pytest.raises(DataError, match="no documents"):
        index.open(DOCUMENTS[:0])
    with pytest.raises(DataError, match="NaN or infinity"):
        index.open(np.where(np.arange(2000)[:, None] == 1999, np.nan, DOCUMENTS).astype(np.float32))
    with pytest.raises(DataError, match="queries have 3 dimensions and documents 16"):
        index.open(DOCUMENTS, queries=QUERIES[:, :3])
    searcher = index.open(DOCUMENTS)
    assert searcher.facts["recall"]["of"] == "documents"
    with pytest.raises(DataError, match="top_k is 0"):
        searcher.search(QUERIES, 0)
    with pytest.raises(DataError, match="NaN or infinity"):
        searcher.search(QUERIES * np.float32(np.inf), 3)
    assert searcher.search(QUERIES[:0], 3)[0].shape == (0, 3)


def test_a_recall_that_is_not_reached_is_told(caplog):
    index = HNSW(neighbours=2, ef_construction=2, recall=1.0)
    facts = index.open(DOCUMENTS, queries=QUERIES, top_k=60).facts
    assert facts["recall"]["value"] < facts["recall_wanted"] == 1
    assert "not 1.0000 as wanted" in caplog.text


def test_the_seed_decides():
    facts = [IVF(seed=seed, lists=30).open(DOCUMENTS, queries=QUERIES).search(QUERIES, 5) for seed in (3, 3)]
    np.testing.assert_array_equal(facts[0][0], facts[1][0])


def test_recall_of_rows_by_hand():
    found, truth = np.array([[1, 2, 3], [4, -1, -1]]), np.array([[3, 2, 9], [7, 8, 9]])
    np.testing.assert_allclose(hit_rates(found, truth), [2 / 3, 0])
    assert by_hand(found, truth) == pytest.approx(1 / 3)


def test_specs():
    adapter = TypeAdapter(AnyIndex)
    assert adapter.validate_python({"kind": "ivf", "recall": 0.95}) == IVF(recall=0.95)
    assert adapter.validate_python({"kind": "hnsw"}) == HNSW()
    for bad in ({"kind": "ivf", "recall": 0}, {"kind": "ivf", "recall": 1.1}, {"kind": "hnsw", "neighbours": 1}):
        with pytest.raises(ValidationError):
            adapter.validate_python(bad)
    assert [IVF().count(n) for n in (1, 4_000, 1_000_000)] == [1, 100, 4000]
    assert IVF(lists=10).count(4) == 4
