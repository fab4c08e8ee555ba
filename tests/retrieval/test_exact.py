"""Exact search is brute force in exact arithmetic, whatever the machine multiplies fast, the tiles and the vectors."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.core.errors import DataError
from embedkit.retrieval import arithmetic, exact
from embedkit.retrieval.exact import Exact

BOTH = ["float32", "bfloat16"]


def brute_force(queries, documents, k):
    """By exact sums in plain loops."""
    rows, scores = [], []
    for query in queries.astype(np.float64):
        sums = [np.float32(math.fsum((query * document).tolist())) for document in documents.astype(np.float64)]
        best = sorted(range(len(sums)), key=lambda row: (-sums[row], row))[:k]
        rows.append(best)
        scores.append([sums[row] for row in best])
    return np.array(rows), np.array(scores, dtype=np.float32)


def same(found, expected):
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    assert (found[0].dtype, found[1].dtype) == (np.int64, np.float32)


def normal(n, dim, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def unit(n, dim, seed=0):
    found = normal(n, dim, seed)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


SETS = {
    "unit": (unit(70, 24), unit(300, 24, 1)),
    "dot products": (normal(70, 24) * 3, normal(300, 24, 1) * np.linspace(0.01, 20, 300, dtype=np.float32)[:, None]),
    "one dimension": (normal(70, 1), normal(300, 1, 1)),
    "duplicates": (unit(70, 24), np.tile(unit(3, 24, 1), (100, 1))),
    "all equal": (unit(70, 24), np.tile(unit(1, 24, 1), (300, 1))),
    "small integers": (np.round(normal(70, 4)), np.round(normal(300, 4, 1))),
    "zeros": (
        np.vstack([np.zeros((35, 24), np.float32), unit(35, 24)]),
        np.vstack([np.zeros((200, 24)), unit(100, 24)]),
    ),
    "all negative": (np.abs(normal(70, 24)), -np.abs(normal(300, 24, 1))),
    "huge": (normal(70, 24) * np.float32(1e18), normal(300, 24, 1) * np.float32(1e17)),
    "tiny": (normal(70, 24) * np.float32(1e-20), normal(300, 24, 1) * np.float32(1e-19)),
    "huge and tiny": (normal(70, 24) * np.float32(1e-22), normal(300, 24, 1) * np.float32(1e30)),
    "one giant": (unit(70, 24), np.vstack([unit(299, 24, 1), 1e6 * unit(1, 24, 2)])),
    "narrow cone": (unit(70, 24) + 9, unit(300, 24, 1) + 9),
}
SETS = {name: tuple(side.astype(np.float32) for side in sides) for name, sides in SETS.items()}


@cache
def truth(name):
    return brute_force(*SETS[name], 300)


@pytest.mark.parametrize("precision", BOTH)
@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("top_k", [1, 20, 300, 1000])
def test_equals_brute_force(name, precision, top_k):
    queries, documents = SETS[name]
    found = Exact(precision=precision, query_tile=64, document_tile=128, device="cpu").search(queries, documents, top_k)
    rows, scores = truth(name)
    same(found, (rows[:, :top_k], scores[:, :top_k]))


@given(st.integers(1, 90), st.integers(1, 200), st.integers(1, 150), st.integers(1, 200), st.integers(0, 3), st.data())
@settings(max_examples=40, deadline=None)
def test_tiles_and_precision_change_nothing(query_tile, document_tile, n_queries, n_documents, grid, data):
    queries, documents = normal(n_queries, 6), normal(n_documents, 6, 1)
    if grid:
        queries, documents = np.round(queries * grid), np.round(documents * grid)
    top_k = data.draw(st.integers(1, 80))
    expected = Exact(precision="float32", device="cpu").search(queries, documents, top_k)
    for precision in BOTH:
        index = Exact(precision=precision, query_tile=query_tile, document_tile=document_tile, device="cpu")
        same(index.search(queries, documents, top_k), expected)


def test_blocks_of_queries_change_nothing():
    searcher = Exact(device="cpu").open(unit(500, 24, 1))
    queries = unit(150, 24)
    whole = searcher.search(queries, 10)
    parts = [searcher.search(queries[start : start + 37], 10) for start in range(0, 150, 37)]
    same([np.concatenate(part) for part in zip(*parts, strict=True)], whole)


def test_more_documents_lie_within_the_bound_than_fit(monkeypatch):
    """Scores that bfloat16, and then float32, cannot tell apart: still exact, and told in the facts."""
    monkeypatch.setattr(exact, "CAPACITY", 6_000)
    close = np.tile(unit(1, 64, 1), (900, 1)) + np.float32(1e-4) * normal(900, 64, 2)
    closer = np.tile(unit(1, 64, 1), (900, 1)) + np.float32(1e-7) * normal(900, 64, 2)
    queries = unit(70, 64)
    for documents, compared in ((close, 0), (closer, 70)):
        searcher = Exact(precision="bfloat16", query_tile=70, device="cpu").open(documents)
        same(searcher.search(queries, 10), brute_force(queries, documents, 10))
        assert searcher.facts["looked_at_twice"] > 0
        assert (searcher.facts["compared_in_float64"] > 0) == (compared > 0)


def test_the_facts_say_what_searches(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert Exact(precision="bfloat16").open(unit(9, 4)).facts == {
        "index": "exact",
        "device": "cpu",
        "precision": "bfloat16",
        "looked_at_twice": 0,
        "compared_in_float64": 0,
    }
    assert Exact().open(unit(9, 4)).facts["precision"] == arithmetic.fastest()


@pytest.mark.parametrize("documents", [False, True])
def test_products_beyond_float32_are_told(documents):
    sides = [unit(3, 4), unit(5, 4)]
    sides[documents] *= np.float32(3e38)
    with pytest.raises(DataError, match="would exceed float32; normalise them"):
        Exact(device="cpu").search(*sides, 2)


def test_the_float32_way_of_gpus_gives_the_same():
    """The same steps on this machine, as a GPU may be absent."""
    queries, documents = unit(30, 24), unit(300, 24, 1)
    rows, last = exact.best_in_float32(
        queries, documents, 40, Exact(query_tile=7, document_tile=50), lambda _: None, device="cpu"
    )
    scores = queries @ documents.T
    np.testing.assert_array_equal(np.sort(rows, axis=1), np.sort(np.argsort(-scores, axis=1)[:, :40], axis=1))
    np.testing.assert_allclose(last, np.sort(scores, axis=1)[:, -40], rtol=1e-6)
    assert torch.get_float32_matmul_precision() == "highest"
