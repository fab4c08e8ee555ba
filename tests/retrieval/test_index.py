import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from embedkit.core.errors import DataError, EmbedkitError
from embedkit.core.spec import identity
from embedkit.retrieval.index import AnyIndex, Exact, Faiss
from embedkit.retrieval.nearest import dot_scores
from embedkit.retrieval.shards import StoredVectors
from tests import oracles

INDEXES = [Exact(), Exact(query_tile=3, document_tile=7), Faiss(), Faiss(query_tile=3, document_tile=7)]


def vectors(n, dim=8, *, seed=0, grid=0):
    """Random unit vectors; with `grid`, of few distinct values, so that many scores are equal."""
    rng = np.random.default_rng(seed)
    if grid:
        return rng.integers(-grid, grid + 1, (n, dim)).astype(np.float32)
    found = rng.normal(size=(n, dim))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def truth(queries, documents, k):
    """By float64, rounded once: what every index must give."""
    scores = (queries.astype(np.float64) @ documents.astype(np.float64).T).astype(np.float32)
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(scores, rows, axis=1)


@given(st.integers(1, 12), st.integers(1, 60), st.integers(1, 30), st.integers(0, 2), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_every_index_gives_the_nearest_documents_ties_by_row(n_queries, n_documents, top_k, grid, seed):
    queries = vectors(n_queries, 4, seed=seed, grid=grid)
    documents = vectors(n_documents, 4, seed=seed + 1, grid=grid)
    rows, scores = truth(queries, documents, top_k)
    for index in INDEXES:
        found_rows, found_scores = index.search(queries, documents, top_k)
        np.testing.assert_array_equal(found_rows, rows)
        np.testing.assert_array_equal(found_scores, scores)
        assert (found_rows.dtype, found_scores.dtype) == (np.int64, np.float32)


def test_the_truth_is_the_definition():
    queries, documents = vectors(5, grid=1), vectors(30, seed=1, grid=1)
    rows, _ = truth(queries, documents, 10)
    assert rows.tolist() == [oracles.nearest_by_hand(q, documents.tolist(), 10) for q in queries.tolist()]


@pytest.mark.parametrize("index", INDEXES)
def test_more_equal_documents_than_an_index_looks_at(index):
    """Where hundreds of documents tie at the end of the list, the first rows win, whatever the search came upon."""
    queries, documents = vectors(4, 48), vectors(3, 48, seed=1)
    documents = np.tile(documents, (200, 1))[np.random.default_rng(0).permutation(600)]
    rows, scores = truth(queries, documents, 30)
    found = index.search(queries, documents, 30)
    np.testing.assert_array_equal(found[0], rows)
    np.testing.assert_array_equal(found[1], scores)


@pytest.mark.parametrize("index", INDEXES)
def test_nearly_equal_documents_are_told_apart(index):
    """Differences below what float32 sums resolve: the search alone would order them by chance."""
    rng = np.random.default_rng(0)
    documents = np.tile(vectors(1, 384), (500, 1)) + rng.normal(0, 3e-7, (500, 384)).astype(np.float32)
    queries = vectors(3, 384, seed=1)
    np.testing.assert_array_equal(index.search(queries, documents, 20)[0], truth(queries, documents, 20)[0])


@pytest.mark.parametrize("index", INDEXES)
def test_edges(index):
    queries, documents = vectors(3), vectors(5, seed=1)
    assert index.search(queries, documents, 100)[0].shape == (3, 5)
    assert sorted(index.search(queries, documents, 100)[0][0].tolist()) == [0, 1, 2, 3, 4]
    rows, scores = index.search(queries[:0], documents, 2)
    assert rows.shape == scores.shape == (0, 2)
    assert index.search(np.zeros((0, 0), np.float32), documents, 2)[0].shape == (0, 2)


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize(
    ("queries", "documents", "top_k", "message"),
    [
        (vectors(3), vectors(5), 0, "top_k is 0"),
        (vectors(3), vectors(0), 1, "no documents"),
        (vectors(3), vectors(5, 6), 1, "8 dimensions and documents 6"),
        (vectors(3), np.full((5, 8), np.nan, np.float32), 1, "NaN"),
        (np.full((3, 8), np.inf, np.float32), vectors(5), 1, "NaN or infinity"),
    ],
)
def test_what_does_not_fit_is_told(index, queries, documents, top_k, message):
    with pytest.raises(DataError, match=message):
        index.search(queries, documents, top_k)


@pytest.mark.parametrize("index", INDEXES)
def test_stored_vectors_are_searched_where_they_lie(index, tmp_path):
    documents, paths = vectors(23, seed=1), []
    for start in range(0, 23, 5):
        paths.append(tmp_path / f"{start}.npy")
        np.save(paths[-1], documents[start : start + 5])
    places = np.array([*range(23), 3, 7])  # two texts stand twice
    on_disk = StoredVectors(paths, 5, places, 8)
    found, expected = index.search(vectors(6), on_disk, 10), index.search(vectors(6), documents[places], 10)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("index", INDEXES)
def test_read_only_arrays_are_searched_without_warning(index, recwarn):
    documents = vectors(9)
    documents.flags.writeable = False
    index.search(documents, documents, 3)
    assert not [w for w in recwarn if "writable" in str(w.message)]


@pytest.mark.parametrize("index", INDEXES)
def test_damage_is_found_wherever_it_lies(index, monkeypatch):
    monkeypatch.setattr("embedkit.retrieval.nearest._CELLS", 16)  # two documents at a time
    documents = vectors(9, seed=1)
    documents[-1, 0] = np.nan
    with pytest.raises(DataError, match="NaN"):
        index.search(vectors(3), documents, 1)


def test_progress_reaches_its_total():
    steps = {}

    class Bar:
        def __init__(self, what, total):
            self.what = what
            steps[what] = -total

        def __enter__(self):
            return lambda n: steps.__setitem__(self.what, steps[self.what] + n)

        def __exit__(self, *_):
            return None

    for index in INDEXES:
        index.search(vectors(10), vectors(20), 3, Bar)
    assert steps == {"search": 0, "index documents": 0}


def test_scores_of_given_pairs():
    queries, documents = vectors(4), vectors(9, seed=1)
    rows = np.random.default_rng(0).integers(0, 9, (4, 6))
    expected = [
        [oracles.dot(q, documents[row].tolist()) for row in some]
        for q, some in zip(queries.tolist(), rows, strict=True)
    ]
    np.testing.assert_allclose(dot_scores(queries, documents, rows), expected, rtol=1e-6)


def test_how_fast_is_no_part_of_the_identity():
    assert identity(Exact(query_tile=1, device="cpu"), keys={}, digests={}) == identity(Exact(), keys={}, digests={})
    assert identity(Faiss(query_tile=1), keys={}, digests={}) == {"kind": "faiss"}


def test_a_recipe_names_an_index_by_kind():
    adapter = TypeAdapter(AnyIndex)
    assert adapter.validate_python({"kind": "faiss"}) == Faiss()
    with pytest.raises(
        ValidationError, match="does not match any of the expected tags: 'exact', 'faiss', 'ivf', 'hnsw'"
    ):
        adapter.validate_python({"kind": "fais"})


def test_missing_faiss_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(EmbedkitError, match=r"pip install 'embedkit\[cpu\]'"):
        Faiss().search(vectors(2), vectors(3), 1)
    with pytest.raises(EmbedkitError, match=r"pip install 'embedkit\[cpu\]'"):
        Faiss().check_installed()
    Exact().check_installed()


def test_a_gpu_that_is_asked_for_and_not_there_is_told(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(EmbedkitError, match=r"torch finds no CUDA GPU; use `device: auto` or cpu"):
        Exact(device="cuda").search(vectors(2), vectors(3), 1)
    with pytest.raises(ValidationError, match="'auto', 'cpu' or 'cuda'"):
        Exact(device="gpu")


@pytest.mark.gpu
def test_the_gpu_gives_the_same(monkeypatch):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    queries, documents = vectors(200, 96), vectors(5000, 96, seed=1)
    here, there = (
        Exact(device="cpu").search(queries, documents, 50),
        Exact(device="cuda").search(queries, documents, 50),
    )
    np.testing.assert_array_equal(here[0], there[0])
    np.testing.assert_array_equal(here[1], there[1])
