"""Every variant finds what a plain loop over its definition finds."""

import numpy as np
import pytest

from embedkit.core.errors import DataError
from embedkit.evaluation.compression.searches import Archive, rounded
from embedkit.evaluation.compression.variants import (
    PCA,
    PQ,
    BFloat16,
    Binary,
    Float16,
    Float32,
    Int8,
    Rescored,
    Truncate,
)
from embedkit.retrieval.exact import look_exactly
from embedkit.retrieval.recall import hit_rates

DIM, DOCUMENTS, QUERIES = 20, 290, 12


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(params=["cosine", "dot"])
def similarity(request) -> str:
    return request.param


@pytest.fixture
def vectors(similarity) -> tuple[np.ndarray, np.ndarray]:
    """Queries and documents; some documents are equal, one dimension is constant."""
    rng = np.random.default_rng(1)
    topics = rng.normal(size=(30, DIM))
    queries = topics[rng.integers(0, 30, QUERIES)] + 0.5 * rng.normal(size=(QUERIES, DIM))
    documents = topics[rng.integers(0, 30, DOCUMENTS)] + 0.5 * rng.normal(size=(DOCUMENTS, DIM))
    documents[:, 3] = queries[:, 3] = 0.4
    documents[100:110] = documents[:10]
    if similarity == "cosine":
        return unit(queries), unit(documents)
    return queries.astype(np.float32), (3 * documents).astype(np.float32)


@pytest.fixture
def archive(vectors, similarity, tmp_path):
    made = Archive(vectors[1], tmp_path / "codes", unit=similarity == "cosine", sample=200, seed=5)
    yield made
    made.close()
    assert not (tmp_path / "codes").exists()


def sample_of(documents: np.ndarray) -> np.ndarray:
    return documents[np.sort(np.random.default_rng(5).choice(len(documents), 200, replace=False))]


def steps_of(documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sample = sample_of(documents)
    return sample.min(axis=0), (np.ptp(sample, axis=0) / np.float32(255)).astype(np.float32)


def int8_codes(vectors: np.ndarray, documents: np.ndarray) -> np.ndarray:
    starts, widths = steps_of(documents)
    return np.clip(np.floor((vectors - starts) / np.where(widths == 0, 1, widths)), 0, 255).astype(np.int64)


def by_steps(queries, documents):
    starts, widths = steps_of(documents)
    stands_for = starts + (int8_codes(documents, documents) + 0.5) * widths
    return queries.astype(float) @ stands_for.T.astype(float)


def by_whole_steps(queries, documents):
    weighted = queries * steps_of(documents)[1]
    numbers = np.array([np.rint(query / np.abs(query).max() * 127) for query in weighted])
    return numbers @ (int8_codes(documents, documents) - 128).T


def by_codes(queries, documents):
    return (int8_codes(queries, documents) - 128) @ (int8_codes(documents, documents) - 128).T


def by_equal_bits(queries, documents):
    return np.array([[sum((a > 0) == (b > 0) for a, b in zip(q, d, strict=True)) for d in documents] for q in queries])


def by_signs(queries, documents):
    return queries.astype(float) @ np.where(documents > 0, 1.0, -1.0).T


def halves(kind):
    import torch

    return lambda q, d: q.astype(float) @ torch.from_numpy(d).to(kind).double().numpy().T


def products(queries, documents):
    return queries.astype(float) @ documents.T.astype(float)


def first(dimensions, then, similarity):
    def scores(queries, documents):
        shorter = [vectors[:, :dimensions] for vectors in (queries, documents)]
        return then(*(unit(v) if similarity == "cosine" else v for v in shorter))

    return scores


def principal(dimensions):
    def scores(queries, documents):
        sample = sample_of(documents).astype(float)
        _, _, directions = np.linalg.svd(sample, full_matrices=False)
        return (queries @ directions[:dimensions].T) @ (documents @ directions[:dimensions].T).T

    return scores


def torch_types():
    import torch

    return torch.float16, torch.bfloat16


def plain(variant, similarity):
    float16, bfloat16 = torch_types()
    match variant:
        case Float16():
            return halves(float16)
        case BFloat16():
            return halves(bfloat16)
        case Int8(queries="float32"):
            return by_steps
        case Int8(queries="int8"):
            return by_whole_steps
        case Int8(queries="codes"):
            return by_codes
        case Binary(queries="binary"):
            return by_equal_bits
        case Binary(queries="float32"):
            return by_signs
        case Truncate():
            return first(variant.dimensions, plain(variant.then, similarity), similarity)
        case PCA():
            return principal(variant.dimensions)
        case Float32():
            return products
    raise AssertionError(variant)


SINGLE = [
    Float32(),
    Float16(),
    BFloat16(),
    Int8(),
    Int8(queries="int8"),
    Int8(queries="codes"),
    Binary(),
    Binary(queries="float32"),
    Truncate(dimensions=11),
    Truncate(dimensions=11, then=Int8()),
    Truncate(dimensions=11, then=Int8(queries="int8")),
    Truncate(dimensions=11, then=Binary()),
    Truncate(dimensions=DIM),
    PCA(dimensions=6),
]


def assert_ranked(rows: np.ndarray, scores: np.ndarray, expected: np.ndarray, exact: bool) -> None:
    """Rows are the best by `expected`, in its order: where that is rounded, up to the rounding."""
    count = rows.shape[1]
    for found, values, true in zip(rows, scores, expected, strict=True):
        assert len(set(found.tolist())) == count
        if exact:
            assert found.tolist() == sorted(range(len(true)), key=lambda row: (-true[row], row))[:count]
        tolerance = 1e-5 * np.abs(true).max()
        np.testing.assert_allclose(true[found], np.sort(true)[::-1][:count], atol=tolerance)
        assert (np.diff(values) <= 0).all()


@pytest.mark.parametrize("variant", SINGLE, ids=lambda v: v.label)
@pytest.mark.parametrize("count", [1, 10, DOCUMENTS])
def test_a_variant_equals_a_plain_loop(variant, count, archive, vectors, similarity):
    queries, documents = vectors
    expected = plain(variant, similarity)(queries, documents)
    whole = np.array_equal(expected, np.rint(expected))
    search = archive.search(variant)
    rows, scores = search.best(queries, count)
    assert_ranked(rows, scores, expected, whole)
    if whole and not isinstance(variant, Truncate | Binary):
        np.testing.assert_array_equal(scores, np.take_along_axis(expected, rows, axis=1))
    looked = search.look(queries, count)
    assert_ranked(looked, np.zeros(rows.shape), expected, whole)


def test_rescoring_equals_a_plain_loop(archive, vectors, similarity):
    queries, documents = vectors
    rows, _ = archive.search(Rescored(first=Binary(), by=Int8(queries="int8"), factor=3)).best(queries, 5)
    bits, floats = by_equal_bits(queries, documents), by_steps(queries, documents)
    for found, coarse, fine in zip(rows, bits, floats, strict=True):
        chosen = sorted(range(DOCUMENTS), key=lambda row: (-coarse[row], row))[:15]
        assert found.tolist() == sorted(chosen, key=lambda row: (-fine[row], row))[:5]


@pytest.mark.parametrize("coarse", [Binary(), Truncate(dimensions=3), Int8(queries="codes")], ids=lambda v: v.label)
def test_rescoring_everything_by_the_full_vectors_is_the_full_search(coarse, archive, vectors):
    queries, documents = vectors
    rescored = archive.search(Rescored(first=coarse, by=Float32(), factor=DOCUMENTS))
    rows, scores = rescored.best(queries, 10)
    expected = look_exactly(documents).search(queries, 10)
    np.testing.assert_array_equal(rows, expected[0])
    np.testing.assert_array_equal(scores, expected[1])
    np.testing.assert_array_equal(rescored.look(queries, 10), expected[0])


def test_rescoring_finds_no_less_than_what_it_orders(archive, vectors):
    queries, _ = vectors
    truth = archive.search(Float32()).best(queries, 10)[0]
    shared = [
        hit_rates(archive.search(variant).best(queries, 10)[0], truth).mean()
        for variant in (Binary(), Rescored(first=Binary(), by=Float32()))
    ]
    assert shared[0] < shared[1]


def test_all_dimensions_keep_the_full_ranking(archive, vectors):
    queries, _ = vectors
    rows = archive.search(Float32()).best(queries, 10)[0]
    np.testing.assert_array_equal(archive.search(PCA(dimensions=DIM)).best(queries, 10)[0], rows)


def test_pq_scores_what_its_codes_stand_for(archive, vectors):
    pytest.importorskip("faiss")
    queries, _ = vectors
    archive.sample = DOCUMENTS
    search = archive.search(PQ(parts=5))
    stands_for = search.kept.coder.decode(np.asarray(search.kept.codes)).astype(float)
    rows, scores = search.best(queries, 10)
    assert_ranked(rows, scores, queries.astype(float) @ stands_for.T, exact=False)


def test_what_is_kept_is_kept_once(archive):
    searches = [
        archive.search(variant)
        for variant in (
            Int8(),
            Int8(queries="codes"),
            Rescored(first=Binary(), by=Int8()),
            Rescored(first=Binary(), by=Binary(queries="float32")),
            Rescored(first=Truncate(dimensions=8, then=Binary()), by=Float32()),
        )
    ]
    assert searches[0].kept is searches[1].kept
    kept = [[one.document_bytes for one in search.stored.values()] for search in searches]
    assert kept == [[DIM], [DIM], [3, DIM], [3], [1, 4 * DIM]]
    assert len(list(archive.folder.iterdir())) == 4


def test_more_than_there_is_finds_all(archive, vectors):
    assert archive.search(Binary()).best(vectors[0], 5000)[0].shape == (QUERIES, DOCUMENTS)
    with pytest.raises(DataError, match="top_k is 0; it must be at least 1"):
        archive.search(Binary()).best(vectors[0], 0)


@pytest.mark.parametrize("variant", [Truncate(dimensions=21), PCA(dimensions=21, then=Int8())], ids=lambda v: v.label)
def test_more_dimensions_than_there_are_is_one_line(archive, variant):
    with pytest.raises(DataError, match=rf"{variant.label.replace('+', '.')}: the model's vectors have 20 dimensions"):
        archive.search(variant)


def test_vectors_of_zeros_are_searched(tmp_path):
    documents = np.zeros((4, 6), np.float32)
    documents[2, 5] = 1
    archive = Archive(documents, tmp_path / "codes", unit=True, sample=4, seed=0)
    queries = np.zeros((2, 6), np.float32)
    for variant in (Truncate(dimensions=2), Int8(queries="int8"), Binary()):
        rows, _ = archive.search(variant).best(queries, 2)
        np.testing.assert_array_equal(rows, [[0, 1], [0, 1]])
    assert not rounded(queries).any()
