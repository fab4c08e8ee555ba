"""Search among whole numbers equals plain loops: over tiles, with ties, in any number of dimensions."""

import faiss
import numpy as np
import pytest
import torch

from embedkit.evaluation.compression import integers
from embedkit.evaluation.compression.integers import nearest_bits, nearest_products


def ordered(scores: list[int]) -> list[int]:
    """Rows, best first, equal scores by row."""
    return sorted(range(len(scores)), key=lambda row: (-scores[row], row))


@pytest.fixture(params=[16_384, 7])
def tiled(request, monkeypatch) -> None:
    monkeypatch.setattr(integers, "_TILE", request.param)
    monkeypatch.setattr(integers, "_QUERIES", 4)


@pytest.mark.parametrize(("low", "high"), [(-128, 128), (-1, 2)], ids=["wide", "ties"])
@pytest.mark.parametrize("count", [1, 10, 60])
@pytest.mark.usefixtures("tiled")
def test_products_equal_plain_loops(low, high, count):
    rng = np.random.default_rng(count)
    queries = rng.integers(low, high, (9, 13)).astype(np.int8)
    documents = rng.integers(low, high, (60, 13)).astype(np.int8)
    rows, scores = nearest_products(queries, documents, count)
    for query, found, values in zip(queries, rows, scores, strict=True):
        expected = [sum(int(a) * int(b) for a, b in zip(query, doc, strict=True)) for doc in documents]
        assert found.tolist() == ordered(expected)[:count]
        assert values.tolist() == [expected[row] for row in found]


@pytest.mark.parametrize("dim", [384, 1024, 1500])
def test_both_ways_to_multiply_are_exact(dim):
    rng = np.random.default_rng(dim)
    queries = rng.integers(-128, 128, (5, dim)).astype(np.int8)
    documents = np.vstack([rng.integers(-128, 128, (20, dim)), np.full((1, dim), -128), np.full((1, dim), 127)])
    queries[0] = -128
    expected = queries.astype(np.int64) @ documents.T
    left, right = torch.from_numpy(queries), torch.from_numpy(documents.astype(np.int8))
    for multiply in (integers._by_integers, integers._by_floats):
        np.testing.assert_array_equal(multiply(left, right).numpy(), expected)


def test_without_a_product_of_integers_floats_stand_in(monkeypatch):
    integers._fastest.cache_clear()
    monkeypatch.delattr(torch, "_int_mm")
    assert integers._fastest() is integers._by_floats
    integers._fastest.cache_clear()


@pytest.mark.parametrize("dim", [3, 8, 64, 100, 300])
@pytest.mark.parametrize("count", [1, 10, 60])
@pytest.mark.usefixtures("tiled")
def test_bits_equal_plain_loops(dim, count):
    rng = np.random.default_rng(dim)
    bits = [rng.integers(0, 2, (n, dim)) for n in (9, 60)]
    queries, documents = (np.packbits(some, axis=1) for some in bits)
    rows, distances = nearest_bits(queries, documents, count)
    for query, found, values in zip(bits[0], rows, distances, strict=True):
        expected = [sum(int(a != b) for a, b in zip(query, doc, strict=True)) for doc in bits[1]]
        assert found.tolist() == ordered([-distance for distance in expected])[:count]
        assert values.tolist() == [expected[row] for row in found]


def test_all_equal_bits_come_in_the_order_of_rows():
    rows, distances = nearest_bits(np.zeros((2, 5), np.uint8), np.full((40_000, 5), 255, np.uint8), 20)
    np.testing.assert_array_equal(rows, [np.arange(20)] * 2)
    assert (distances == 40).all()


def test_distances_are_those_of_faiss():
    rng = np.random.default_rng(0)
    queries, documents = (rng.integers(0, 256, (n, 48)).astype(np.uint8) for n in (6, 500))
    index = faiss.IndexBinaryFlat(384)
    index.add(documents)
    rows, distances = nearest_bits(queries, documents, 30)
    np.testing.assert_array_equal(distances, index.search(queries, 30)[0])
    assert rows.shape == (6, 30)


def test_no_queries_find_nothing():
    assert nearest_bits(np.empty((0, 2), np.uint8), np.zeros((5, 2), np.uint8), 3)[0].shape == (0, 3)
    assert nearest_products(np.empty((0, 2), np.int8), np.zeros((5, 2), np.int8), 3)[0].shape[0] == 0
