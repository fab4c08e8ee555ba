"""Vectors in clusters of like size, numbered so that clusters with near numbers are alike."""

import importlib.util
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embedkit.core.errors import EmbedkitError
from embedkit.retrieval.exact import look_exactly, tiles
from embedkit.retrieval.flat import gpu_count, import_faiss
from embedkit.retrieval.nearest import Floats

Labels = NDArray[np.int64]
Rows = NDArray[np.int64]

LARGEST: Final = 2  # times the mean size; a larger topic is cut
_ITERATIONS: Final = 10  # of k-means, which begins with fair means
_PER_CENTROID: Final = 100  # vectors that k-means looks at
_ROUNDS: Final = 8  # of halving; most halves have settled after four
_SAMPLE: Final = 8192  # vectors that say where to cut in two
_TILE: Final = 65_536


def topics(vectors: Floats, count: int, *, least: int, seed: int) -> Labels:
    """(n,) numbers of the topics of (n, D) vectors of unit length: about `count`, none much larger than the others.

    Spherical k-means by FAISS. A cluster of fewer than `least` vectors is given up, its vectors go to the nearest of
    the others; one of more than `LARGEST` times the mean is cut into equal parts.
    """
    count = max(1, min(count, len(vectors) // max(1, least)))
    if count == 1:
        return np.zeros(len(vectors), dtype=np.int64)
    centroids = _k_means(vectors, count, seed)
    centroids = centroids[np.argsort(halved(centroids, 1, seed=seed), kind="stable")]
    labels = _nearest(vectors, centroids)
    kept = np.bincount(labels, minlength=len(centroids)) >= least
    lost = np.flatnonzero(~kept[labels])
    if len(lost) and kept.any():
        labels[lost] = np.flatnonzero(kept)[_nearest(vectors[lost], centroids[kept])]
    return _cut(vectors, labels, LARGEST * -(-len(vectors) // count), seed)


def halved(vectors: Floats, size: int, *, seed: int) -> Labels:
    """(n,) numbers of clusters of exactly `size` of the (n, D) vectors each; only the last may have fewer.

    All are cut in two halves, these again, and so on; each cut is by 2-means whose halves are held equal, in whole
    clusters (balanced hierarchical clustering, as NGAME uses it: Dahiya et al., 2023,
    https://arxiv.org/abs/2207.04452).
    """
    labels = np.empty(len(vectors), dtype=np.int64)
    rng = np.random.default_rng(seed)
    waiting = [np.arange(len(vectors))]
    number = 0
    while waiting:
        rows = waiting.pop()
        clusters = -(-len(rows) // size)
        if clusters <= 1:
            labels[rows] = number
            number += 1
            continue
        near, far = _halves(vectors, rows, clusters // 2 * size, rng)
        waiting += [far, near]  # the nearer half is numbered first, so that the short cluster comes last
    return labels


def check_faiss() -> None:
    """Raise `EmbedkitError` if FAISS is not there. Imports nothing."""
    if importlib.util.find_spec("faiss") is None:
        raise EmbedkitError(
            "batches clusters: FAISS is not installed; `pip install 'embedkit[cpu]'` (or 'embedkit[gpu]'), or use "
            "`batches: {kind: ngame}`, which needs none"
        )


def _k_means(vectors: Floats, count: int, seed: int) -> Floats:
    """(count, D) unit vectors, from the means of clusters of one size, so that none begins with few vectors or many."""
    check_faiss()
    faiss = import_faiss("clusters")
    rows = np.random.default_rng(seed).choice(len(vectors), min(len(vectors), _PER_CENTROID * count), replace=False)
    some = vectors[np.sort(rows)]
    labels = halved(some, -(-len(some) // count), seed=seed)
    first = np.stack([some[labels == number].mean(axis=0) for number in range(int(labels.max()) + 1)])
    means: Any = faiss.Kmeans(
        some.shape[1],
        len(first),
        niter=_ITERATIONS,
        seed=seed % 2**31,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=len(some),  # those above: FAISS draws none of its own
        gpu=bool(gpu_count(faiss)),
    )
    means.train(some, init_centroids=np.ascontiguousarray(first, dtype=np.float32))
    return np.ascontiguousarray(means.centroids, dtype=np.float32)


def _nearest(vectors: Floats, centroids: Floats) -> Labels:
    """(n,) of each vector: the centroid of the largest product with it, the first of equal ones."""
    search = look_exactly(centroids).search
    parts = [search(tile, 1)[0].ravel() for _, tile in tiles(vectors, _TILE)]
    return np.concatenate(parts).astype(np.int64)


def _cut(vectors: Floats, labels: Labels, most: int, seed: int) -> Labels:
    """The labels, numbered without gaps, after clusters of more than `most` were cut into equal parts."""
    order = np.argsort(labels, kind="stable")
    result = np.empty_like(labels)
    number = 0
    for rows in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        parts = -(-len(rows) // most)
        result[rows] = number + (halved(vectors[rows], -(-len(rows) // parts), seed=seed) if parts > 1 else 0)
        number += parts
    return result


def _halves(vectors: Floats, rows: Rows, first: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """`first` of the rows, and the others, each half alike in itself."""
    seen = rows if len(rows) <= _SAMPLE else rows[np.sort(rng.choice(len(rows), _SAMPLE, replace=False))]
    some = vectors[seen]
    cut = round(len(seen) * first / len(rows))
    end = some[rng.integers(len(some))]
    direction = end - some[np.argmin(some @ end)]
    order = np.argsort(-(some @ direction), kind="stable")
    for _ in range(_ROUNDS):
        direction = some[order[:cut]].mean(axis=0) - some[order[cut:]].mean(axis=0)
        found = np.argsort(-(some @ direction), kind="stable")
        settled = np.array_equal(np.sort(found[:cut]), np.sort(order[:cut]))
        order = found
        if settled:
            break
    if len(seen) < len(rows):
        scores = [vectors[rows[i : i + _TILE]] @ direction for i in range(0, len(rows), _TILE)]
        order = np.argsort(-np.concatenate(scores), kind="stable")
    return rows[order[:first]], rows[order[first:]]
