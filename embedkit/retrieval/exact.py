"""Exact search: every query against every document, tile by tile, from wherever the vectors lie.

On a CPU the tiles are multiplied in bfloat16 where that is faster. All documents whose score may, by a bound of the
rounding errors, be among the best are kept and scored again exactly (`nearest`), so the result is that of comparing
everything in exact arithmetic, to the last bit, on any machine.
"""

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import torch
from pydantic import JsonValue, PositiveInt

from embedkit.core.errors import DataError, EmbedkitError
from embedkit.core.progress import Advance, Progress
from embedkit.core.spec import Execution
from embedkit.retrieval import arithmetic
from embedkit.retrieval.arithmetic import Precision, Product, Reach, margins, multiplied, reach, side
from embedkit.retrieval.nearest import (
    SPARE,
    Doubles,
    Floats,
    Rows,
    Vectors,
    best_pairs,
    compare_all,
    lengths,
    pair_scores,
    rounding,
    settle,
)
from embedkit.retrieval.searcher import Index, Searcher
from embedkit.retrieval.shortlist import CAPACITY, Shortlist

logger = logging.getLogger(__name__)

_PASS: Final = 8192  # queries that one reading of the documents serves, if they want few neighbours each
_READ: Final = 16_384  # documents read at a time to be measured
_LONGEST: Final = 1e38  # of a vector, and of a product of two: beyond lies float32's end


class Exact(Index):
    """Compares every query with every document, tile by tile, on the accelerator if there is one."""

    kind: Literal["exact"] = "exact"
    query_tile: Annotated[PositiveInt, Execution()] = 1024
    document_tile: Annotated[PositiveInt, Execution()] = 16_384
    device: Annotated[Literal["auto", "cpu", "cuda"], Execution()] = "auto"  # auto: CUDA if there is a GPU
    precision: Annotated[Literal["auto", "float32", "bfloat16"], Execution()] = "auto"  # of a CPU's first look

    def _open(
        self, documents: Vectors, work: Path | None, progress: Progress, queries: Floats | None, top_k: int
    ) -> Searcher:
        searcher = look_exactly(documents, self)
        logger.info("exact search: %s, first look in %s", searcher.facts["device"], searcher.facts["precision"])
        return searcher


def look_exactly(documents: Vectors, spec: Exact | None = None) -> Searcher:
    """What `Exact.open` gives, without telling the log: for searches that are part of other work."""
    spec = spec or Exact()
    longest = longest_of(documents)
    if choose_device(spec.device) == "cuda":
        return _OnGpu(documents, longest, spec)
    return _OnCpu(documents, longest, spec, arithmetic.fastest() if spec.precision == "auto" else spec.precision)


class _OnCpu(Searcher):
    def __init__(self, documents: Vectors, longest: float, spec: Exact, precision: Precision) -> None:
        super().__init__(documents)
        self._longest, self._spec, self._precision = longest, spec, precision
        self._crowded = self._compared = 0
        self._reach: dict[tuple[Precision, int], Reach] = {}  # of each tile

    @property
    def facts(self) -> Mapping[str, JsonValue]:
        return {
            "index": "exact",
            "device": "cpu",
            "precision": self._precision,
            "looked_at_twice": self._crowded,
            "compared_in_float64": self._compared,
        }

    def _search(self, queries: Floats, top_k: int, progress: Progress) -> tuple[Rows, Floats]:
        check_lengths(lengths(queries), self._longest)
        size = max(1, min(_PASS, CAPACITY // (3 * (top_k + SPARE))))
        starts = range(0, len(queries), size)
        rows, scores = np.empty((len(queries), top_k), dtype=np.int64), np.empty((len(queries), top_k), np.float32)
        with progress("search", len(starts) * self.documents.shape[0]) as advance:
            for start in starts:
                part = slice(start, start + size)
                rows[part], scores[part] = self._pass(queries[part], top_k, advance)
        return rows, scores

    def _pass(self, queries: Floats, top_k: int, advance: Advance) -> tuple[Rows, Floats]:
        """Look at all documents once; again in float32, then in float64, for queries that this does not settle."""
        rows, scores, crowded = self._look(queries, top_k, self._precision, advance)
        if len(crowded) and self._precision != "float32":
            self._crowded += len(crowded)
            if 2 * len(crowded) > len(queries):  # vectors too alike for bfloat16: the next queries' will be, too
                logger.info("scores lie closer together than bfloat16 can tell: going on in float32")
                self._precision = "float32"
            again = self._look(queries[crowded], top_k, "float32", _nothing)
            rows[crowded], scores[crowded], crowded = again[0], again[1], crowded[again[2]]
        if len(crowded):
            self._compared += len(crowded)
            rows[crowded], scores[crowded] = compare_all(queries[crowded], self.documents, top_k)
        return rows, scores

    def _look(self, queries: Floats, top_k: int, precision: Precision, advance: Advance) -> tuple[Rows, Floats, Rows]:
        """Rows and scores, and the queries for which they are none."""
        precision = arithmetic.suits(precision, min(len(queries), self._spec.query_tile), self._spec.document_tile)
        left = side(queries, precision)
        multiply = Product()
        with torch.inference_mode(), ThreadPoolExecutor(torch.get_num_threads()) as pool:
            shortlist = Shortlist(len(queries), top_k, pool, capacity=CAPACITY)
            for first, tile in tiles(self.documents, self._spec.document_tile):
                right = multiplied(tile, precision)
                limits = self._limits(precision, first, tile)
                there = np.arange(first, first + len(tile))
                for start in range(0, len(queries), self._spec.query_tile):
                    own = np.arange(start, min(start + self._spec.query_tile, len(queries)))
                    some = left[own[0] : own[-1] + 1]
                    shortlist.offer(multiply(some.vectors, right), there, own, margins(some, limits))
                advance(len(tile))
        own, rows = shortlist.pairs()
        scores = pair_scores(queries, self.documents, own, rows)
        return *best_pairs(own, rows, scores, queries=len(queries), top_k=top_k), np.flatnonzero(shortlist.crowded)

    def _limits(self, precision: Precision, first: int, tile: Floats) -> Reach:
        """Measured when a tile is first read."""
        if (precision, first) not in self._reach:
            self._reach[precision, first] = reach(side(tile, precision))
        return self._reach[precision, first]


class _OnGpu(Searcher):
    def __init__(self, documents: Vectors, longest: float, spec: Exact) -> None:
        super().__init__(documents)
        self._longest, self._spec = longest, spec

    @property
    def facts(self) -> Mapping[str, JsonValue]:
        return {"index": "exact", "device": torch.cuda.get_device_name(), "precision": "float32"}

    def _search(self, queries: Floats, top_k: int, progress: Progress) -> tuple[Rows, Floats]:
        check_lengths(lengths(queries), self._longest)
        count = min(top_k + SPARE, self.documents.shape[0])
        with progress("search", self.documents.shape[0]) as advance:
            rows, last = best_in_float32(queries, self.documents, count, self._spec, advance, device="cuda")
        return settle(queries, self.documents, rows, last + rounding(queries, self._longest), top_k=top_k)


def best_in_float32(
    queries: Floats, documents: Vectors, count: int, spec: Exact, advance: Advance, *, device: str
) -> tuple[Rows, Doubles]:
    """(Q, count) rows that score best in float32, in any order, and (Q,) the lowest score among them."""
    starts = range(0, len(queries), spec.query_tile)
    best: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * len(starts)
    with torch.inference_mode(), _full_float32():
        for first, found in tiles(documents, spec.document_tile):
            tile = torch.from_numpy(found).to(device)
            for i, start in enumerate(starts):
                some = torch.from_numpy(queries[start : start + spec.query_tile]).to(device)
                best[i] = _merge(best[i], some @ tile.T, first, count)
            advance(len(tile))
    rows, scores = (torch.cat(parts).cpu() for parts in zip(*(one for one in best if one is not None), strict=True))
    return rows.numpy(), scores.amin(dim=1).double().numpy()


def tiles(documents: Vectors, size: int) -> Iterator[tuple[int, Floats]]:
    """The documents in pieces: the row of the first, and float32 vectors that may be written to."""
    for first in range(0, documents.shape[0], size):
        yield first, np.require(documents[first : first + size], np.float32, ["C", "W"])


def choose_device(wanted: Literal["auto", "cpu", "cuda"]) -> Literal["cpu", "cuda"]:
    """Where to search. Raises `EmbedkitError` if CUDA is asked for and not there."""
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise EmbedkitError("index exact: device is cuda, but torch finds no CUDA GPU; use `device: auto` or cpu")
    return "cuda" if there and wanted != "cpu" else "cpu"


def longest_of(documents: Vectors) -> float:
    """The length of the longest document. Raises `DataError` if one is not finite, or too long for float32."""
    longest = float(np.max([np.max(lengths(tile)) for _, tile in tiles(documents, _READ)]))  # NaN if any is
    check_lengths(np.zeros(1), longest)
    return longest


def fingerprint(documents: Vectors) -> str:
    """SHA-256 of all numbers. Raises `DataError` as `longest_of` does."""
    hashed = sha256()
    for _, tile in tiles(documents, _READ):
        hashed.update(tile.data)
        check_lengths(np.zeros(1), float(np.max(lengths(tile))))
    return hashed.hexdigest()


def check_lengths(queries: Doubles, longest: float) -> None:
    """Raise `DataError` unless float32 holds all products of queries of these lengths and documents up to `longest`."""
    most = float(np.max(queries))
    if not np.isfinite(most) or not np.isfinite(longest):
        raise DataError("search: a vector holds NaN or infinity; the model that made it is damaged")
    if max(most, longest, most * longest) > _LONGEST:
        raise DataError(
            f"search: vectors are up to {most:.3g} (queries) and {longest:.3g} (documents) long, and their products "
            "would exceed float32; normalise them"
        )


class _full_float32:
    """No TF32, whatever the process has set: its error is beyond the bound."""

    def __enter__(self) -> None:
        self._before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")

    def __exit__(self, *_: Any) -> None:
        torch.set_float32_matmul_precision(self._before)


def _merge(
    known: tuple[torch.Tensor, torch.Tensor] | None, found: torch.Tensor, first: int, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The best `count` of what is known and of a tile's scores `found` (q, n), whose first document is `first`."""
    best = found.topk(min(count, found.shape[1]), dim=1)
    if known is None:
        return best.indices + first, best.values
    rows = torch.cat([known[0], best.indices + first], dim=1)
    scores = torch.cat([known[1], best.values], dim=1)
    kept = scores.topk(min(count, scores.shape[1]), dim=1)
    return rows.gather(1, kept.indices), kept.values


def _nothing(_: int) -> None:
    return None
