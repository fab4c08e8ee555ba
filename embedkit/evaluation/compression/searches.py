"""Variants ready to be searched: every query against every document, in what is kept of it."""

import abc
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embedkit.core.errors import DataError
from embedkit.core.progress import Progress, silent
from embedkit.evaluation.compression.coders import Coder, Steps, coder
from embedkit.evaluation.compression.integers import nearest_bits, nearest_products
from embedkit.evaluation.compression.reductions import Reduction, reduction
from embedkit.evaluation.compression.variants import AnyCode, AnyVariant, Binary, Float32, Int8, Rescored, Shortened
from embedkit.retrieval.exact import Exact, best_in_float32, look_exactly
from embedkit.retrieval.nearest import Doubles, Floats, Rows, Vectors, best_of, dot_scores

_READ: Final = 16_384  # documents coded at a time


@dataclass(frozen=True)
class Kept:
    """What is kept of N documents; as `Vectors`, what that stands for."""

    reduction: Reduction
    coder: Coder
    codes: NDArray[Any]  # (N, w), a file mapped into memory

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, d)."""
        return len(self.codes), self.reduction.dimensions

    def __getitem__(self, rows: slice | Rows) -> Floats:
        return self.coder.decode(self.codes[rows])

    @property
    def document_bytes(self) -> int:
        """Of one document."""
        return self.coder.width * np.dtype(self.coder.dtype).itemsize

    @property
    def table_bytes(self) -> int:
        """Once for all documents."""
        return self.reduction.table_bytes + self.coder.table_bytes


class Search(abc.ABC):
    """A variant ready to be searched. Made by `Archive.search`."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept

    @property
    def stored(self) -> Mapping[int, Kept]:
        """All that it keeps, each once, by identity."""
        return {id(self.kept): self.kept}

    def best(self, queries: Floats, count: int) -> tuple[Rows, Doubles]:
        """Rows and scores (Q, k) of each query's k = min(count, N) best documents, for queries (Q, D), best first.

        The same on every machine: floats are multiplied exactly, and of equal scores the lower row comes first. Raises
        `DataError` if `count` is below 1.
        """
        if count < 1:
            raise DataError(f"search: top_k is {count}; it must be at least 1")
        return self._best(queries, min(count, self.kept.shape[0]))

    @abc.abstractmethod
    def _best(self, queries: Floats, count: int) -> tuple[Rows, Doubles]: ...

    @abc.abstractmethod
    def look(self, queries: Floats, count: int) -> Rows:
        """The rows alone, `count` <= N, without the care for ties of floats: what is timed."""


class ByFloats(Search):
    """Codes are turned into float32 tile by tile, and multiplied with the queries."""

    def _best(self, queries: Floats, count: int) -> tuple[Rows, Doubles]:
        rows, scores = look_exactly(self.kept).search(self.kept.reduction(queries), count)
        return rows, scores.astype(np.float64)

    def look(self, queries: Floats, count: int) -> Rows:
        reduced = np.ascontiguousarray(self.kept.reduction(queries))
        return best_in_float32(reduced, self.kept, count, Exact(), lambda _: None, device="cpu")[0]


class ByIntegers(Search):
    """int8 queries on int8 documents."""

    def __init__(self, kept: Kept, steps: Steps, *, coded: bool) -> None:
        super().__init__(kept)
        self._steps, self._coded = steps, coded

    def _best(self, queries: Floats, count: int) -> tuple[Rows, Doubles]:
        reduced = self.kept.reduction(queries)
        numbers = self._steps.encode(reduced) if self._coded else rounded(reduced * self._steps.widths)
        rows, scores = nearest_products(numbers, self.kept.codes, count)
        return rows, scores.astype(np.float64)

    def look(self, queries: Floats, count: int) -> Rows:
        return self._best(queries, count)[0]


class ByBits(Search):
    """Bits on bits. The score is the dot product of vectors of 1 and -1: d - 2 x distance."""

    def _best(self, queries: Floats, count: int) -> tuple[Rows, Doubles]:
        bits = self.kept.coder.encode(self.kept.reduction(queries))
        rows, distances = nearest_bits(bits, self.kept.codes, count)
        return rows, self.kept.reduction.dimensions - 2 * distances.astype(np.float64)

    def look(self, queries: Floats, count: int) -> Rows:
        return self._best(queries, count)[0]


class Twice(Search):
    """The best of a first search, ordered anew by the query's floats on what a second code stands for."""

    def __init__(self, first: Search, by: Kept, factor: int) -> None:
        super().__init__(first.kept)
        self._first, self._by, self._factor = first, by, factor

    @property
    def stored(self) -> Mapping[int, Kept]:
        return {**self._first.stored, id(self._by): self._by}

    def _best(self, queries: Floats, count: int) -> tuple[Rows, Doubles]:
        return self._again(queries, self._first.best(queries, self._factor * count)[0], count)

    def look(self, queries: Floats, count: int) -> Rows:
        found = self._first.look(queries, min(self._factor * count, self.kept.shape[0]))
        return self._again(queries, found, count)[0]

    def _again(self, queries: Floats, found: Rows, count: int) -> tuple[Rows, Doubles]:
        scores = dot_scores(np.ascontiguousarray(self._by.reduction(queries)), self._by, found)
        rows, best = best_of(found, scores, count)
        return rows, best.astype(np.float64)


def rounded(queries: Floats) -> NDArray[np.int8]:
    """(Q, d) as whole numbers: each query's greatest number becomes 127 or -127, 0 stays 0."""
    most = np.abs(queries).max(axis=1, keepdims=True, initial=0)
    return np.rint(queries / np.where(most > 0, most, 1) * 127).astype(np.int8)


@dataclass
class Archive:
    """Codes of a corpus, made when a variant first asks for them, in files in `folder`.

    What codecs learn, they learn from `sample` documents drawn by `seed`. `unit`: whether vectors have length 1, and
    truncated ones are to have it again.
    """

    documents: Vectors
    folder: Path
    unit: bool
    sample: int
    seed: int
    progress: Progress = silent
    _made: dict[AnyCode, Kept] = field(default_factory=dict)
    _drawn: Floats | None = None

    def search(self, variant: AnyVariant | Float32) -> Search:
        """The variant, ready. Raises `DataError`, which names it, if it does not go with these vectors."""
        if isinstance(variant, Rescored):
            return Twice(self._opened(variant.first), self._kept(variant.by), variant.factor)
        return self._opened(variant)

    def close(self) -> None:
        """Remove the files."""
        self._made.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _opened(self, code: AnyCode) -> Search:
        kept, codec = self._kept(code), code.then if isinstance(code, Shortened) else code
        if isinstance(codec, Binary) and codec.queries == "binary":
            return ByBits(kept)
        if isinstance(codec, Int8) and codec.queries != "float32" and isinstance(kept.coder, Steps):
            return ByIntegers(kept, kept.coder, coded=codec.queries == "codes")
        return ByFloats(kept)

    def _kept(self, code: AnyCode) -> Kept:
        if code.kept not in self._made:
            self._made[code.kept] = self._make(code.kept)
        return self._made[code.kept]

    def _make(self, code: AnyCode) -> Kept:
        sample = self._sample()
        shorten = reduction(code, sample, unit=self.unit)
        codec = code.then if isinstance(code, Shortened) else code
        learnt = coder(codec, np.ascontiguousarray(shorten(sample)), seed=self.seed)
        self.folder.mkdir(parents=True, exist_ok=True)
        path, count = self.folder / f"{len(self._made)}.npy", self.documents.shape[0]
        codes = np.lib.format.open_memmap(path, "w+", dtype=learnt.dtype, shape=(count, learnt.width))
        with self.progress(f"code documents: {code.label}", count) as advance:
            for start in range(0, count, _READ):
                part = slice(start, start + _READ)
                codes[part] = learnt.encode(shorten(self.documents[part]))
                advance(len(codes[part]))
        codes.flush()
        return Kept(shorten, learnt, np.load(path, mmap_mode="r", allow_pickle=False))

    def _sample(self) -> Floats:
        """(S, D), in the order of the corpus."""
        if self._drawn is None:
            count = self.documents.shape[0]
            rng = np.random.default_rng(self.seed)
            rows = np.sort(rng.choice(count, min(count, self.sample), replace=False))
            self._drawn = self.documents[rows]
        return self._drawn
