import numpy as np
import pytest

from embedkit.mining import lists as module
from embedkit.mining.lists import list_scores
from embedkit.retrieval.index import Exact


@pytest.mark.parametrize("pairs", [1, 3, 5, 1000])
def test_lists_of_any_length_are_scored_by_their_own_query(monkeypatch, pairs):
    monkeypatch.setattr(module, "_PAIRS", pairs)
    rng = np.random.default_rng(0)
    queries, documents = rng.normal(size=(5, 8)).astype(np.float32), rng.normal(size=(9, 8)).astype(np.float32)
    lists = [np.array(rows, dtype=np.int64) for rows in ([], [3, 1], [8, 8, 0, 2, 5], [], [4])]
    found = list_scores(queries, documents, lists)
    assert len(found) == 5
    for query, rows, scores in zip(queries, lists, found, strict=True):
        np.testing.assert_allclose(scores, documents[rows] @ query, rtol=1e-4, atol=1e-6)


def test_scores_are_the_indexs_to_the_last_bit():
    rng = np.random.default_rng(1)
    queries, documents = rng.normal(size=(4, 16)).astype(np.float32), rng.normal(size=(30, 16)).astype(np.float32)
    rows, scores = Exact(device="cpu").search(queries, documents, 10)
    np.testing.assert_array_equal(np.stack(list_scores(queries, documents, list(rows))), scores)


def test_no_lists():
    empty = np.empty((0, 4), dtype=np.float32)
    assert list_scores(empty, np.ones((2, 4), dtype=np.float32), []) == []
