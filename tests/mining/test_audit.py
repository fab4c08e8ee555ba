import numpy as np
import pyarrow.parquet as pq

from embedkit.core.records import Pair
from embedkit.mining.audit import CANDIDATES, describe, histograms, write_candidates
from embedkit.mining.filters import NONE, Candidates, ScoreRange
from embedkit.mining.miner import choose_negatives
from tests.mining.cases import candidates


def mined(given: Candidates, *, count: int, filters=(), doc_ids) -> tuple:
    choice = choose_negatives(given, filters, count=count)
    rows = [
        Pair(query, ("p",), negatives=tuple(doc_ids[given.rows[q, c]] for c in choice.columns[q] if c != NONE))
        for q, query in enumerate(given.query_ids)
    ]
    return choice, rows


def test_histograms_share_one_range():
    groups = histograms({"a": [0.13, 0.2], "b": [-0.42], "c": []})
    assert {(g["low"], g["high"]) for g in groups.values()} == {(-0.45, 0.2)}
    assert [sum(g["counts"]) for g in groups.values()] == [2, 1, 0]
    assert histograms({"a": [], "b": []}) == {}
    assert histograms({"a": [0.5, 0.5]})["a"]["n"] == 2  # no width of its own


def test_a_document_that_serves_everyone_is_named():
    ids = [f"d{i}" for i in range(200)]
    rows = np.array([[7, i % 150 + 20] for i in range(60)])
    given = candidates(np.tile([0.9, 0.1], (60, 1)), [[1.0]] * 60, rows=rows)
    stats = describe(given, *mined(given, count=1, doc_ids=ids), documents=200)
    assert stats["hubs"] == [{"doc_id": "d7", "queries": 60}]
    assert stats["warnings"] == ["document 'd7' is a negative of 60 queries"]
    assert stats["mean_rank"] == 1


def test_queries_left_short_are_counted_and_warned_of():
    given = candidates([[0.9, 0.8], [0.9, 0.3], [0.4, 0.3]], [[1.0]] * 3)
    strict = (ScoreRange(maximum=0.5),)
    stats = describe(given, *mined(given, count=2, filters=strict, doc_ids=["a", "b"]), documents=2)
    assert stats["counts"]["queries_without"] == 1
    assert stats["counts"]["queries_with_fewer"] == 1
    assert stats["filters"] == [{"name": "known_positive", "dropped": 0}, {"name": "score_range", "dropped": 3}]
    assert stats["histograms"]["dropped"]["n"] == 3
    assert "2 of 3 queries have fewer than 2 negatives" in stats["warnings"][0]
    assert stats["summary"][0] == "3 queries over 2 documents: 2 negatives each for 1, fewer for 1, none for 1"
    assert stats["summary"][1] == "dropped of 6 candidates: score range 3"


def test_candidates_are_a_table_of_what_was_found(tmp_path):
    given = candidates(
        [[0.9, 0.5], [0.8, 0.0]], [[1.0]] * 2, rows=[[1, 0], [2, NONE]], known=[[True, False], [False, False]]
    )
    choice, _ = mined(given, count=1, doc_ids=["a", "b", "c"])
    write_candidates(tmp_path, given, choice, ["a", "b", "c"])
    columns = ["query_id", "doc_id", "rank", "reason"]
    assert [[row[c] for c in columns] for row in pq.read_table(tmp_path / CANDIDATES).to_pylist()] == [
        ["q0", "b", 0, "known_positive"],
        ["q0", "a", 1, "chosen"],
        ["q1", "c", 1, "chosen"],
    ]
