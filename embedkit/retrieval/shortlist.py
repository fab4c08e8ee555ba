"""Which documents may be among the nearest of each query, from tiles of scores of bounded error."""

from concurrent.futures import Executor
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from embedkit.retrieval.nearest import Doubles, Floats, Rows

CAPACITY: Final = 3_000_000  # pairs held at most: 16 bytes each, and as much again while they are thinned
_BLOCK: Final = 64  # documents of which only the best helps to raise a query's floor
_ROWS: Final = 64  # queries looked at together: their part of a tile stays in cache

Keys = NDArray[np.signedinteger[Any]]


class Shortlist:
    """For Q queries: a floor under the score of the k-th best document, and all documents that may reach it.

    A query whose documents lie closer together than the error of the scores can tell, more of them than fit, is given
    up: `crowded`.
    """

    def __init__(self, queries: int, top_k: int, pool: Executor, *, capacity: int) -> None:
        self.crowded = np.zeros(queries, dtype=np.bool_)
        self._best = np.full((queries, top_k), -np.inf)  # what the k best documents score at least, the worst first
        self._pool = pool
        self._capacity, self._held = capacity, 0
        self._own: list[NDArray[np.int32]] = []
        self._rows: list[Rows] = []
        self._reach: list[Floats] = []  # what a document scores at most

    def offer(self, scores: torch.Tensor, rows: Rows, own: Rows, margins: Doubles) -> None:
        """Take note of a tile: `scores` (q, n) of queries `own` (q,) and documents `rows` (n,); spoils `scores`.

        A score, before it was rounded to the precision it is given in, is within the query's margin of the truth.
        """
        brief = scores.dtype == torch.bfloat16
        keys: Keys = scores.view(torch.int16 if brief else torch.int32).numpy()
        parts = [slice(start, start + _ROWS) for start in range(0, len(own), _ROWS)]
        kept = self._pool.map(lambda part: self._keep(keys[part], rows, own[part], margins[part]), parts)
        for queries, documents, reach in kept:
            self._own.append(queries)
            self._rows.append(documents)
            self._reach.append(reach)
            self._held += len(queries)
            if self._held > self._capacity:
                self._thin()

    def pairs(self) -> tuple[Rows, Rows]:
        """Queries and rows of the documents left, in any order; none of crowded queries."""
        self._thin()
        if not self._own:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        return self._own[0].astype(np.int64), self._rows[0]

    def _keep(self, keys: Keys, rows: Rows, own: Rows, margins: Doubles) -> tuple[NDArray[np.int32], Rows, Floats]:
        """Raise these queries' floors; what reaches them: query, document, and what it scores at most."""
        # As integers, numbers above 0 are in order. Only where lower ones may be wanted must all be put in order.
        if (self._best[own, 0] - margins).min() <= 0:
            _order(keys)
            signed = True
        else:
            signed = False
        self._raise(keys, own, margins, signed=signed)
        bars = _keys(self._best[own, 0] - margins, keys.dtype)
        bars[bars == 0] = -1  # -0.0 is 0.0
        bars[self.crowded[own]] = np.iinfo(keys.dtype).max
        flat = np.flatnonzero(keys >= bars[:, None])
        query, document = np.divmod(flat, keys.shape[1])
        _, high = _bounds(keys.ravel()[flat], signed=signed)
        reach = np.nextafter((high + margins[query]).astype(np.float32), np.float32(np.inf))
        return own[query].astype(np.int32), rows[document], reach

    def _raise(self, keys: Keys, own: Rows, margins: Doubles, *, signed: bool) -> None:
        """Raise the floors by the best of each block of documents: scores of different documents, which is enough."""
        top_k = self._best.shape[1]
        width = max(1, min(_BLOCK, keys.shape[1] // (2 * top_k)))
        blocks = keys.shape[1] // width
        best = np.maximum.reduce(keys[:, : width * blocks].reshape(len(keys), width, blocks), axis=1)
        if blocks > top_k:
            best = np.partition(best, blocks - top_k, axis=1)[:, -top_k:]
        low, _ = _bounds(best, signed=signed)
        both = np.concatenate([self._best[own], low - margins[:, None]], axis=1)
        both.partition(both.shape[1] - top_k, axis=1)
        self._best[own] = both[:, -top_k:]

    def _thin(self) -> None:
        """Drop what cannot reach its query's floor any more, then the fullest queries until there is room."""
        if not self._own:
            return
        own, rows, reach = (np.concatenate(part) for part in (self._own, self._rows, self._reach))
        kept = (reach >= self._best[own, 0]) & ~self.crowded[own]
        counts = np.bincount(own[kept], minlength=len(self.crowded))
        if counts.sum() > self._capacity // 2:
            fullest = np.argsort(-counts, kind="stable")
            left = counts.sum() - np.cumsum(counts[fullest])
            self.crowded[fullest[: 1 + int(np.argmax(left <= self._capacity // 2))]] = True
            kept &= ~self.crowded[own]
        self._own, self._rows, self._reach = [own[kept]], [rows[kept]], [reach[kept]]
        self._held = int(kept.sum())


def _order(keys: Keys) -> None:
    """Turn the bits of floating-point numbers into integers of the same order, in place; the same again undoes it."""
    bits = 8 * keys.dtype.itemsize - 1
    keys ^= (keys >> bits) & np.iinfo(keys.dtype).max


def _keys(values: Doubles, dtype: np.dtype[Any]) -> Keys:
    """Ordered integers of `values`, rounded as scores are: what is no less than a value is not rounded below it."""
    given = torch.from_numpy(np.clip(values, -3.38e38, 3.38e38).astype(np.float64))
    if dtype == np.int16:
        keys: Keys = _to_bfloat16(given).view(torch.int16).numpy().copy()
    else:
        keys = given.float().view(torch.int32).numpy().copy()
    _order(keys)
    return keys


def _to_bfloat16(values: torch.Tensor) -> torch.Tensor:
    """To bfloat16, by float32 rounded down first: two roundings must not lift a value past a score."""
    single = values.float()
    down = torch.where(single.double() > values, torch.nextafter(single, torch.tensor(-torch.inf)), single)
    return down.bfloat16()


def _bounds(keys: Keys, *, signed: bool) -> tuple[Doubles, Doubles]:
    """Between which numbers a score lay before it was rounded to what these keys stand for."""
    keys = keys.copy()
    if not signed:
        _order(keys)
    if keys.dtype == np.int32:  # float32 sums are not rounded again
        _order(keys)
        exact = keys.view(np.float32).astype(np.float64)
        return exact, exact
    return _middle(keys, -1), _middle(keys, 1)


def _middle(keys: Keys, step: int) -> Doubles:
    """Halfway between bfloat16 numbers and their neighbours below or above."""
    return (_value(keys) + _value(keys + keys.dtype.type(step))) / 2


def _value(keys: Keys) -> Doubles:
    bits = keys.copy()
    _order(bits)
    return (bits.astype(np.int32) << 16).view(np.float32).astype(np.float64)
