"""A score is the exact dot product, rounded: a function of the two vectors alone."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.retrieval import nearest
from embedkit.retrieval.nearest import best_of, best_pairs, compare_all, dot_scores, pair_scores
from tests import oracles


def by_hand(query, document):
    return np.float32(math.fsum((query.astype(np.float64) * document.astype(np.float64)).tolist()))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 130), st.integers(0, 500), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_scores_of_pairs_are_exact_and_in_their_order(n_queries, n_documents, dim, n_pairs, seed):
    rng = np.random.default_rng(seed)
    queries = rng.normal(size=(n_queries, dim)).astype(np.float32)
    documents = np.vstack([rng.normal(size=(n_documents - 1, dim)), -queries[:1] * 0]).astype(np.float32)
    own, rows = rng.integers(0, n_queries, n_pairs), rng.integers(0, n_documents, n_pairs)
    expected = [by_hand(queries[q], documents[d]) for q, d in zip(own, rows, strict=True)]
    np.testing.assert_array_equal(pair_scores(queries, documents, own, rows), np.array(expected, dtype=np.float32))


def test_sums_that_cancel_are_exact():
    """float64 sums lose all of these: 1e30 + 1 - 1e30."""
    queries = np.array([[1e15, 1.0, -1e15], [1.0, 1.0, 1.0]], dtype=np.float32)
    documents = np.array([[1e15, 0.25, 1e15]], dtype=np.float32)
    assert dot_scores(queries, documents, np.zeros((2, 1), np.int64)).tolist() == [[0.25], [np.float32(2e15)]]


def test_halfway_between_two_numbers_is_decided_by_the_exact_sum():
    """2**24 + 1 lies halfway; what is added decides, though float64 loses it."""
    queries = np.array([[2.0**24, 1.0, 2.0**-40, 0.0]], dtype=np.float32)
    documents = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, -1, 0]], dtype=np.float32)
    scores = dot_scores(queries, documents, np.array([[0, 1, 2]]))
    assert scores.tolist() == [[2.0**24, 2.0**24, 2.0**24]]  # the sum is rounded to float64 before: ties to even


def test_scores_do_not_depend_on_what_is_scored_beside(monkeypatch):
    rng = np.random.default_rng(0)
    queries, documents = rng.normal(size=(50, 77)).astype(np.float32), rng.normal(size=(60, 77)).astype(np.float32)
    rows = rng.integers(0, 60, (50, 30))
    whole = dot_scores(queries, documents, rows)
    monkeypatch.setattr(nearest, "_CELLS", 1000)
    monkeypatch.setattr(nearest, "_PAIRS", 3)
    np.testing.assert_array_equal(dot_scores(queries, documents, rows), whole)
    for i in range(0, 50, 7):
        np.testing.assert_array_equal(dot_scores(queries[i : i + 1], documents, rows[i : i + 1])[0], whole[i])


@given(st.integers(1, 300), st.integers(1, 20), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_best_pairs_are_the_best_of_each_query(n_queries, top_k, seed):
    rng = np.random.default_rng(seed)
    own, rows, scores, expected = [], [], [], []
    for query in range(n_queries):
        n = 0 if rng.random() < 0.2 else top_k + int(rng.integers(0, 30))
        some = rng.choice(1000, n, replace=False)
        values = rng.integers(-2, 3, n).astype(np.float32) * np.float32(0.5)
        values[values == 0] = rng.choice([0.0, -0.0])
        own += [query] * n
        rows += some.tolist()
        scores += values.tolist()
        order = sorted(range(n), key=lambda i: (-values[i], some[i]))[:top_k]
        expected.append([(int(some[i]), float(values[i])) for i in order] or [(-1, -np.inf)] * top_k)
    order = rng.permutation(len(own))
    columns = (np.array(own, np.int64)[order], np.array(rows, np.int64)[order], np.array(scores, np.float32)[order])
    found = best_pairs(*columns, queries=n_queries, top_k=top_k)
    assert found[0].tolist() == [[row for row, _ in some] for some in expected]
    assert found[1].tolist() == [[score for _, score in some] for some in expected]


@pytest.mark.parametrize("cells", [16, 1 << 22])
def test_comparing_all_is_brute_force(monkeypatch, cells):
    monkeypatch.setattr(nearest, "_CELLS", cells)
    rng = np.random.default_rng(0)
    queries, documents = rng.integers(-2, 3, (4, 3)).astype(np.float32), rng.integers(-2, 3, (60, 3)).astype(np.float32)
    rows, scores = compare_all(queries, documents, 25)
    expected = [oracles.nearest_by_hand(query, documents.tolist(), 25) for query in queries.tolist()]
    assert rows.tolist() == expected
    np.testing.assert_array_equal(scores, dot_scores(queries, documents, rows))


def test_of_equal_scores_the_lower_row_is_better():
    rows, scores = best_of(np.array([[5, 3, 4]]), np.array([[1.0, 1.0, 2.0]], dtype=np.float32), 2)
    assert (rows.tolist(), scores.tolist()) == ([[4, 3]], [[2.0, 1.0]])
