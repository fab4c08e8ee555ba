import numpy as np
import pytest

from embedkit.training import clusters
from embedkit.training.clusters import LARGEST, halved, topics


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def blobs(sizes, *, seed=0):
    """Unit vectors around one direction each, shuffled, and the number of each one's direction."""
    rng = np.random.default_rng(seed)
    of = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return unit(np.eye(16)[of] + 0.05 * rng.standard_normal((len(of), 16))), of


def same_partition(one, other):
    return len({*zip(one.tolist(), other.tolist(), strict=True)}) == len({*one.tolist()}) == len({*other.tolist()})


@pytest.mark.parametrize(("rows", "size"), [(64, 4), (61, 4), (7, 3), (5, 8), (9, 1)])
def test_halves_are_clusters_of_one_size_but_for_the_last(rows, size):
    vectors = unit(np.random.default_rng(rows).standard_normal((rows, 8)))
    labels = halved(vectors, size, seed=0)
    sizes = np.bincount(labels).tolist()
    assert sizes[:-1] == [size] * (len(sizes) - 1)
    assert sum(sizes) == rows
    assert 0 < sizes[-1] <= size
    assert (labels == halved(vectors, size, seed=0)).all()


def test_halving_finds_what_lies_together():
    vectors, of = blobs([16] * 8)
    assert same_partition(halved(vectors, 16, seed=3), of)


def test_near_numbers_are_alike():
    """Four pairs of blobs: halves of a pair have numbers next to each other."""
    vectors, of = blobs([8] * 8, seed=1)
    vectors = unit(vectors + 0.9 * np.eye(16)[8 + of // 2])
    labels = halved(vectors, 8, seed=0)
    place = {int(of[labels == number][0]): number for number in range(8)}
    assert all(place[2 * pair] // 2 == place[2 * pair + 1] // 2 for pair in range(4))


def test_a_sample_says_where_to_cut_many(monkeypatch):
    monkeypatch.setattr(clusters, "_SAMPLE", 64)
    monkeypatch.setattr(clusters, "_TILE", 50)
    vectors, of = blobs([128] * 4)
    assert same_partition(halved(vectors, 128, seed=0), of)


def test_equal_vectors_are_cut_all_the_same():
    assert np.bincount(halved(np.ones((10, 4), dtype=np.float32), 3, seed=0)).tolist() == [3, 3, 3, 1]
    assert len(topics(unit(np.ones((40, 4))), 4, least=5, seed=0)) == 40


def test_topics_are_found():
    vectors, of = blobs([30, 40, 50, 60])
    assert same_partition(topics(vectors, 4, least=8, seed=0), of)


def test_no_topic_starves_or_swamps():
    vectors, _ = blobs([3, 200, 30, 30, 30, 30])
    labels = topics(vectors, 6, least=8, seed=0)
    sizes = np.bincount(labels)
    most = LARGEST * -(-len(vectors) // 6)
    assert sizes.min() >= 8
    assert sizes.max() <= most + 3  # the three of the lost topic go somewhere


@pytest.mark.parametrize(("count", "least"), [(1, 1), (50, 40), (9, 1000)])
def test_too_few_vectors_are_one_topic(count, least):
    vectors, _ = blobs([20, 20])
    assert not topics(vectors, count, least=least, seed=0).any()


def test_the_nearest_centroid_is_that_of_the_largest_product():
    rng = np.random.default_rng(0)
    vectors, centroids = unit(rng.standard_normal((50, 8))), unit(rng.standard_normal((6, 8)))
    expected = [max(range(6), key=lambda c: float(vector @ centroids[c])) for vector in vectors]
    assert clusters._nearest(vectors, centroids).tolist() == expected
