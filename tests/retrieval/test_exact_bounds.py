"""The bound that exact search rests on holds for every pair, and what it keeps holds the truth."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.retrieval import arithmetic
from embedkit.retrieval.arithmetic import margins, reach, side
from embedkit.retrieval.shortlist import Shortlist


def vectors(n, dim, scale, seed):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, dim)) * 10.0 ** rng.uniform(-scale, scale, (n, 1))).astype(np.float32)


@given(st.integers(1, 400), st.floats(0, 6), st.sampled_from(["float32", "bfloat16"]), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_no_product_is_further_from_the_truth_than_its_margin(dim, scale, precision, seed):
    queries, documents = vectors(70, dim, scale, seed), vectors(90, dim, scale, seed + 1)
    left, right = side(queries, precision), side(documents, precision)
    given_as = (left.vectors @ right.vectors.T).double().numpy()
    last_place = np.abs(given_as) * (2.0**-8 if precision == "bfloat16" else 0.0)
    truth = queries.astype(np.float64) @ documents.astype(np.float64).T
    limits = np.stack([margins(left, reach(right[np.array([column])])) for column in range(90)], axis=1)
    assert (np.abs(given_as - truth) <= limits + last_place).all()


def test_the_bound_is_of_use():
    """For unit vectors it stays below a hundredth, so that few more documents are kept than are wanted."""
    unit = vectors(200, 384, 0, 0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    ready = side(unit, "bfloat16")
    assert margins(ready, reach(ready)).max() < 0.006


@given(
    st.integers(1, 40), st.integers(1, 300), st.integers(1, 50), st.sampled_from([-1.0, 0.0, 1.0]),
    st.sampled_from([torch.float32, torch.bfloat16]), st.floats(0, 0.1), st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_a_shortlist_keeps_whatever_may_be_among_the_best(n_queries, n_documents, top_k, shift, dtype, margin, seed):
    rng = np.random.default_rng(seed)
    truth = rng.normal(shift, 1, (n_queries, n_documents))
    truth[rng.random(truth.shape) < 0.1] = 0.0
    seen = torch.from_numpy(truth + rng.uniform(-margin, margin, truth.shape) * 0.999).float().to(dtype)
    top_k = min(top_k, n_documents)
    with ThreadPoolExecutor(2) as pool:
        shortlist = Shortlist(n_queries, top_k, pool, capacity=10**6)
        for start in range(0, n_documents, 70):
            rows = np.arange(start, min(start + 70, n_documents))
            tile = seen[:, rows].contiguous()
            shortlist.offer(tile, rows, np.arange(n_queries), np.full(n_queries, margin + 1e-6))
        own, rows = shortlist.pairs()
    assert len(set(zip(own.tolist(), rows.tolist(), strict=True))) == len(own)
    for query in range(n_queries):
        best = np.argsort(-truth[query], kind="stable")[:top_k]
        least = truth[query][best[-1]]
        assert set(np.flatnonzero(truth[query] >= least)) <= set(rows[own == query])


def test_a_full_shortlist_gives_up_the_fullest_queries():
    truth = torch.rand(4, 600)
    truth[2] = 0.5  # all documents alike
    with ThreadPoolExecutor(1) as pool:
        shortlist = Shortlist(4, 5, pool, capacity=500)
        shortlist.offer(truth, np.arange(600), np.arange(4), np.full(4, 1e-6))
        own, _ = shortlist.pairs()
    assert shortlist.crowded.tolist() == [False, False, True, False]
    assert sorted(set(own)) == [0, 1, 3]


@pytest.mark.parametrize(("queries", "documents"), [(1, 5000), (5000, 1)])
def test_few_rows_are_multiplied_in_float32(queries, documents):
    """Libraries have other ways for single vectors, whose sums may be in bfloat16."""
    assert arithmetic.suits("bfloat16", queries, documents) == "float32"
    assert arithmetic.suits("bfloat16", 5000, 5000) == "bfloat16"
