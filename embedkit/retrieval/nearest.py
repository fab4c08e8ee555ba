"""From candidates a fast search found to the true nearest documents, the same whatever found them.

Fast searches round in their own ways: tile shapes, threads, GPUs and libraries give scores that differ in the last
digits, and so other ties and other documents at the end of the list. Here a score is the dot product in float64,
rounded once to float32: a function of the two vectors alone. Of equal scores the lower row comes first.
"""

from collections.abc import Iterator
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

SPARE: Final = 16  # candidates to search for beyond those wanted
_CELLS: Final = 1 << 23  # float64 numbers held at a time


class Vectors(Protocol):
    """(n, D) float32 rows that need not be in memory: an array, or `shards.StoredVectors`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, D)."""
        ...

    def __getitem__(self, rows: slice | Rows, /) -> Floats:
        """The vectors of these rows."""
        ...


def dot_scores(queries: Floats, documents: Vectors, rows: Rows) -> Floats:
    """(Q, K) scores of each query (Q, D) and the documents in its row of `rows` (Q, K)."""
    scores = np.empty(rows.shape, dtype=np.float32)
    for part in _parts(len(rows), max(1, rows.shape[1] * queries.shape[1])):
        vectors = documents[rows[part].ravel()].reshape(*rows[part].shape, -1).astype(np.float64)
        scores[part] = np.einsum("qkd,qd->qk", vectors, queries[part].astype(np.float64))
    return scores


def settle(queries: Floats, documents: Vectors, candidates: Rows, bound: Floats, *, top_k: int) -> tuple[Rows, Floats]:
    """The `top_k` nearest documents and their scores, best first, from `candidates` (Q, K), K >= top_k, in any order.

    `bound` (Q,): no document that is not a candidate scores more. Where that does not rule out that one of them belongs
    among the nearest, the query is compared with every document.
    """
    scores = dot_scores(queries, documents, candidates)
    rows, scores = best_of(candidates, scores, top_k)
    if candidates.shape[1] < documents.shape[0]:
        doubtful = np.flatnonzero(bound >= scores[:, -1])
        for part in _parts(len(doubtful), documents.shape[0]):
            some = doubtful[part]
            rows[some], scores[some] = _compare_all(queries[some], documents, top_k)
    return rows, scores


def best_of(rows: Rows, scores: Floats, count: int) -> tuple[Rows, Floats]:
    """The `count` best columns of each query, best first, equal scores by row."""
    order = np.lexsort((rows, -scores), axis=1)[:, :count]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def rounding(queries: Floats, documents: Vectors) -> Floats:
    """(Q,) how far a float32 dot product with any document can be from the exact one, at worst.

    |fl(x·y) - x·y| <= γ_D |x|·|y| with γ_D = D u / (1 - D u), and |x|·|y| <= ‖x‖ ‖y‖. Reference: Higham, Accuracy and
    Stability of Numerical Algorithms, 2nd edition, 2002, eq. 3.5.
    """
    dim = queries.shape[1] + 1  # one more for the rounding of the score itself
    unit = float(np.finfo(np.float32).eps) / 2
    parts = _parts(documents.shape[0], queries.shape[1])
    longest = float(np.max([np.linalg.norm(documents[part], axis=1).max() for part in parts]))  # NaN if any is
    gamma = dim * unit / (1 - dim * unit)
    return np.asarray(gamma * longest * np.linalg.norm(queries, axis=1), dtype=np.float32)


def _compare_all(queries: Floats, documents: Vectors, top_k: int) -> tuple[Rows, Floats]:
    """The `top_k` nearest of all documents, the slow way."""
    rows, scores = np.empty((len(queries), 0), dtype=np.int64), np.empty((len(queries), 0), dtype=np.float32)
    exact = queries.astype(np.float64)
    for part in _parts(documents.shape[0], len(queries) + queries.shape[1]):
        new_scores = (exact @ documents[part].astype(np.float64).T).astype(np.float32)
        new_rows = np.broadcast_to(np.arange(part.start, part.stop), new_scores.shape)
        rows, scores = best_of(np.hstack([rows, new_rows]), np.hstack([scores, new_scores]), top_k)
    return rows, scores


def _parts(count: int, width: int) -> Iterator[slice]:
    """Slices of `count` rows, each of `width` numbers or so, that bound the memory in use."""
    size = max(1, _CELLS // max(1, width))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
