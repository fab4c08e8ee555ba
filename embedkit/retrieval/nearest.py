"""From candidates a fast search found to the true nearest documents, the same whatever found them.

Fast searches round in their own ways: tile shapes, threads, GPUs and libraries give scores that differ in the last
digits, and so other ties and other documents at the end of the list. Here a score is the exact dot product of the two
float32 vectors, rounded to float64 and then to float32: no order of summation enters it. It is computed in float64, and
where the rounding of that leaves open which float32 number is meant, by an exact sum. Of equal scores the lower row
comes first.
"""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Rows = NDArray[np.int64]

SPARE: Final = 16  # candidates to search for beyond those wanted
_CELLS: Final = 1 << 22  # float64 numbers held at a time
_CACHED: Final = 1 << 17  # float64 numbers that stay in a core's cache
_PAIRS: Final = 128  # pairs multiplied, or queries sorted, at a time


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
    for part in parts(len(rows), queries.shape[1] + 8 * rows.shape[1]):
        own = np.repeat(np.arange(len(rows[part])), rows.shape[1])
        scores[part] = pair_scores(queries[part], documents, own, rows[part].ravel()).reshape(rows[part].shape)
    return scores


def pair_scores(queries: Floats, documents: Vectors, own: Rows, rows: Rows) -> Floats:
    """(P,) scores of pairs: query `own[p]` of `queries` (Q, D) and document `rows[p]` of `documents` (N, D).

    Every document is read once, in order of rows, a few megabytes at a time.
    """
    scores = np.empty(len(rows), dtype=np.float32)
    order = np.argsort(rows)
    distinct, starts = np.unique(rows[order], return_index=True)
    starts = np.append(starts, len(rows))
    exact, unit = queries.astype(np.float64), 2 * gamma(queries.shape[1] + 2, 2.0**-53)
    wide = lengths(queries) * unit
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for part in parts(len(distinct), 4 * queries.shape[1]):
            vectors = documents[distinct[part]].astype(np.float64)
            norms = lengths(vectors)
            pairs = order[starts[part.start] : starts[part.stop]]
            there = np.repeat(np.arange(len(vectors)), np.diff(starts[part.start : part.stop + 1]))

            def score(piece: slice, pairs: Rows = pairs, vectors: Doubles = vectors, there: Rows = there) -> Doubles:
                return _products(exact, own[pairs[piece]], vectors, there[piece])

            sums = np.concatenate(list(pool.map(score, pieces(len(pairs)))))
            scores[pairs] = _once(sums, wide[own[pairs]] * norms[there], exact, own[pairs], vectors, there)
    return scores


def settle(queries: Floats, documents: Vectors, candidates: Rows, bound: Doubles, *, top_k: int) -> tuple[Rows, Floats]:
    """The `top_k` nearest documents and their scores, best first, from `candidates` (Q, K), K >= top_k, in any order.

    `bound` (Q,): no document that is not a candidate scores more. Where that does not rule out that one of them belongs
    among the nearest, the query is compared with every document.
    """
    rows, scores = best_of(candidates, dot_scores(queries, documents, candidates), top_k)
    if candidates.shape[1] < documents.shape[0]:
        doubtful = np.flatnonzero(bound >= scores[:, -1])
        rows[doubtful], scores[doubtful] = compare_all(queries[doubtful], documents, top_k)
    return rows, scores


def best_of(rows: Rows, scores: Floats, count: int) -> tuple[Rows, Floats]:
    """The `count` best columns of each query, best first, equal scores by row."""
    order = np.lexsort((rows, -scores), axis=1)[:, :count]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def best_pairs(own: Rows, rows: Rows, scores: Floats, *, queries: int, top_k: int) -> tuple[Rows, Floats]:
    """(queries, top_k) rows and scores, best first, of pairs (P,) that are distinct, at least `top_k` for each query.

    Queries without any pair get row -1 and score -inf throughout.
    """
    order = np.argsort(own * (rows.max(initial=0) + 1) + rows)
    counts = np.bincount(own, minlength=queries)
    ends = np.cumsum(counts)
    found = np.full((queries, top_k), -1, dtype=np.int64), np.full((queries, top_k), -np.inf, dtype=np.float32)
    for start in range(0, queries, _PAIRS):
        stop = min(start + _PAIRS, queries)
        some = order[ends[start] - counts[start] : ends[stop - 1]]
        width = int(counts[start:stop].max())
        if width < top_k:
            continue
        place = np.arange(width)
        there = place < counts[start:stop, None]
        # One number a pair that sorts by falling score, then by place, which is by row.
        keys = np.full(there.shape, np.iinfo(np.int64).max)
        keys[there] = -ordered(scores[some]).astype(np.int64) * 2**32
        keys[there] += np.broadcast_to(place, there.shape)[there]
        keys.sort(axis=1)
        full = counts[start:stop] >= top_k
        chosen = (keys[full, :top_k] & 0xFFFFFFFF) + (ends[start:stop] - counts[start:stop])[full, None]
        found[0][start:stop][full] = rows[order[chosen]]
        found[1][start:stop][full] = scores[order[chosen]]
    return found


def ordered(scores: Floats) -> NDArray[np.int32]:
    """Integers in the order of float32 numbers; 0.0 and -0.0 are one number."""
    bits = np.ascontiguousarray(scores + np.float32(0.0)).view(np.int32)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def rounding(queries: Floats, longest: float) -> Doubles:
    """(Q,) how far a float32 dot product with any document, of length `longest` at most, can be from the score.

    |fl(x·y) - x·y| <= γ_D |x|·|y| with γ_D = D u / (1 - D u), and |x|·|y| <= ‖x‖ ‖y‖. Reference: Higham, Accuracy and
    Stability of Numerical Algorithms, 2nd edition, 2002, eq. 3.5.
    """
    dim = queries.shape[1]
    return np.asarray(gamma(dim + 2, 2.0**-24) * longest * lengths(queries) + dim * 2.0**-126)  # last: underflow


def gamma(count: int, unit: float) -> float:
    """γ_n = n u / (1 - n u), the relative error that n roundings can add up to."""
    return count * unit / (1 - count * unit) if count * unit < 1 else math.inf


def lengths(vectors: NDArray[np.floating]) -> Doubles:
    """(n,) norms of vectors (n, D), no less than the true ones; NaN or infinite if a number of the vector is."""
    squares = np.empty(len(vectors))
    for part in parts(len(vectors), vectors.shape[1], cells=_CACHED):
        exact = vectors[part].astype(np.float64)
        np.einsum("nd,nd->n", exact, exact, out=squares[part])
    return np.asarray(np.sqrt(squares) * (1 + 1e-10))


def compare_all(queries: Floats, documents: Vectors, top_k: int) -> tuple[Rows, Floats]:
    """The `top_k` nearest of all documents and their scores, each (Q, top_k), the slow way."""
    found = np.empty((len(queries), top_k), dtype=np.int64), np.empty((len(queries), top_k), dtype=np.float32)
    for some in parts(len(queries), 8 * top_k + queries.shape[1]):
        rows, scores = [np.empty(0, np.int64)] * len(queries[some]), [np.empty(0, np.float32)] * len(queries[some])
        for part in parts(documents.shape[0], len(queries[some]) + queries.shape[1]):
            tile = documents[part]
            exact, wide = queries[some].astype(np.float64) @ tile.astype(np.float64).T, _slack(queries[some], tile)
            low, high = _rounded(exact - wide), _rounded(exact + wide)
            for i, query in enumerate(queries[some]):
                new = _perhaps(low[i], high[i], scores[i], top_k)
                more = pair_scores(query[None], tile, np.zeros(len(new), dtype=np.int64), new)
                best = best_of(np.append(rows[i], new + part.start)[None], np.append(scores[i], more)[None], top_k)
                rows[i], scores[i] = best[0][0], best[1][0]
        found[0][some], found[1][some] = np.stack(rows), np.stack(scores)
    return found


def pieces(count: int) -> list[slice]:
    """Slices of `count` things that torch's number of threads share, of equal size or so."""
    size = max(1, -(-count // (4 * torch.get_num_threads())))
    return [slice(start, start + size) for start in range(0, max(count, 1), size)]


def parts(count: int, width: int, *, cells: int | None = None) -> Iterator[slice]:
    """Slices of `count` rows, each of `width` numbers or so, that bound the memory in use."""
    size = max(1, (cells or _CELLS) // max(1, width))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _perhaps(low: Floats, high: Floats, known: Floats, top_k: int) -> Rows:
    """Which documents may be among the `top_k` best, by bounds of their scores and the best scores `known`."""
    floors = np.append(known, low)
    floor = np.partition(floors, -top_k)[-top_k] if len(floors) >= top_k else -np.inf
    found = np.flatnonzero(high >= floor)
    if len(found) > 2 * top_k and (low == high)[found].all():  # many ties: of equal scores the first rows win
        found = np.sort(found[np.argsort(-low[found], kind="stable")[:top_k]])
    return found


def _products(queries: Doubles, own: Rows, documents: Doubles, rows: Rows) -> Doubles:
    """(P,) dot products of pairs of vectors, summed in any order."""
    sums = np.empty(len(own))
    left, right = np.empty((_PAIRS, queries.shape[1])), np.empty((_PAIRS, queries.shape[1]))
    for start in range(0, len(own), _PAIRS):
        part = slice(start, start + _PAIRS)
        n = len(own[part])
        np.take(queries, own[part], axis=0, out=left[:n], mode="clip")
        np.take(documents, rows[part], axis=0, out=right[:n], mode="clip")
        np.einsum("nd,nd->n", left[:n], right[:n], out=sums[part])
    return sums


def _once(sums: Doubles, wide: Doubles, queries: Doubles, own: Rows, documents: Doubles, rows: Rows) -> Floats:
    """Float32 numbers of exact dot products that differ from `sums` (P,) by `wide` (P,) at most."""
    scores, high = _rounded(sums - wide), _rounded(sums + wide)
    for p in np.flatnonzero(scores != high):
        scores[p] = np.float32(math.fsum((queries[own[p]] * documents[rows[p]]).tolist()))
    return scores


def _slack(queries: Floats, documents: Floats) -> Doubles:
    """(Q, N) how far a dot product in float64 can be from the exact one."""
    return np.outer(lengths(queries), lengths(documents)) * (2 * gamma(queries.shape[1] + 2, 2.0**-53))


def _rounded(exact: Doubles) -> Floats:
    with np.errstate(over="ignore"):
        return exact.astype(np.float32)
