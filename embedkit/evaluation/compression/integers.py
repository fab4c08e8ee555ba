"""Exhaustive search among codes whose scores are whole numbers: exact, so equal on every machine and however it runs.

Ties are many. Of equal scores the lower row comes first: score and row are one number to sort by.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from embedkit.retrieval.nearest import Rows, pieces

Int8s = NDArray[np.int8]
Bits = NDArray[np.uint8]
Product = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_TILE: Final = 16_384  # documents looked at together
_QUERIES: Final = 256  # queries multiplied together
_ROW: Final = 32  # bits of a row in a number to sort by
_EXACT: Final = 1024  # dimensions up to which float32 holds every sum of products of int8


def nearest_products(queries: Int8s, documents: Int8s, count: int) -> tuple[Rows, Rows]:
    """Rows (Q, count) and scores of each query's best documents by dot product, for queries (Q, d), documents (N, d).

    1 <= count <= N < 2^32. Best first, equal scores by row.
    """
    multiply = _fastest()
    best = torch.empty((len(queries), 0), dtype=torch.int64)
    with torch.inference_mode():
        for first, tile in _tiles(documents):
            right, rows = torch.from_numpy(tile), torch.arange(first, first + len(tile))
            parts = []
            for start in range(0, len(queries), _QUERIES):
                some = torch.from_numpy(np.ascontiguousarray(queries[start : start + _QUERIES]))
                keys = (multiply(some, right).long() << _ROW) - rows
                known = torch.cat([best[start : start + _QUERIES], keys], dim=1)
                parts.append(known.topk(min(count, known.shape[1]), dim=1).values)
            best = torch.cat(parts) if parts else best
    keys_ = best.numpy()
    found = -keys_ & ((1 << _ROW) - 1)
    return found, (keys_ + found) >> _ROW


def nearest_bits(queries: Bits, documents: Bits, count: int) -> tuple[Rows, Rows]:
    """Rows (Q, count) and distances of each query's nearest documents by Hamming distance, for packed bits (Q, B) and
    (N, B). 1 <= count <= N < 2^32. Nearest first, equal distances by row.
    """
    words = _words(np.ascontiguousarray(queries))
    best = [np.empty(0, dtype=np.int64) for _ in words]
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for first, tile in _tiles(documents):
            columns = np.ascontiguousarray(_words(tile).T)

            def look(part: slice, columns: NDArray[np.uint64] = columns, first: int = first) -> None:
                for i in range(part.start, min(part.stop, len(words))):
                    best[i] = _nearer(best[i], words[i], columns, first, count)

            list(pool.map(look, pieces(len(words))))
    keys = np.stack(best) if best else np.empty((0, count), dtype=np.int64)
    return keys & ((1 << _ROW) - 1), keys >> _ROW


def _nearer(known: Rows, query: NDArray[np.uint64], columns: NDArray[np.uint64], first: int, count: int) -> Rows:
    """The `count` least of the keys `known` and those of documents whose words are the `columns` (W, n), sorted."""
    distances = np.zeros(columns.shape[1], dtype=np.min_scalar_type(64 * len(query)))
    for word, column in zip(query, columns, strict=True):
        distances += np.bitwise_count(column ^ word)
    if len(known) == count:  # of those as far away as the last one known, all come after it
        rows = np.flatnonzero(distances < known[-1] >> _ROW)
        keys = (distances[rows].astype(np.int64) << _ROW) + (rows + first)
    else:
        keys = (distances.astype(np.int64) << _ROW) + np.arange(first, first + len(distances))
    keys = np.concatenate([known, keys])
    if len(keys) > count:
        keys = np.partition(keys, count - 1)[:count]
    keys.sort()
    return keys


def _tiles(documents: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    for first in range(0, len(documents), _TILE):
        yield first, np.array(documents[first : first + _TILE])  # a copy: documents may be a file mapped into memory


def _words(codes: Bits) -> NDArray[np.uint64]:
    """(n, W) of packed bits (n, B); the last word is filled with zeros."""
    short = -codes.shape[1] % 8
    filled = np.pad(codes, ((0, 0), (0, short))) if short else codes
    return filled.view(np.uint64)


@cache
def _fastest() -> Product:
    """How this machine multiplies int8 fastest: by torch's product of integers, which is not public, or by floats."""
    if not hasattr(torch, "_int_mm"):
        return _by_floats
    left, right = torch.ones((64, 384), dtype=torch.int8), torch.ones((4096, 384), dtype=torch.int8)
    return min((_by_integers, _by_floats), key=lambda multiply: _seconds(multiply, left, right))


def _seconds(multiply: Product, left: torch.Tensor, right: torch.Tensor) -> float:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        multiply(left, right)
        times.append(time.perf_counter() - start)
    return min(times)


def _by_integers(queries: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
    """(q, n) dot products of int8 vectors."""
    return torch._int_mm(queries, documents.T)


def _by_floats(queries: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
    """The same, by floats that hold every sum there can be: 128 x 128 x 1024 is 2^24."""
    wide = torch.float32 if queries.shape[1] <= _EXACT else torch.float64
    return (queries.to(wide) @ documents.to(wide).T).long()
