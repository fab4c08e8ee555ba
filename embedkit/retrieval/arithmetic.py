"""The two ways a CPU multiplies vectors here, and how far from the truth each can be."""

import time
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from embedkit.retrieval.nearest import Doubles, Floats, gamma, lengths

Precision = Literal["float32", "bfloat16"]

_LEAST: Final = 64  # rows of either side below which libraries may multiply bfloat16 in ways of their own
_GAIN: Final = 0.7  # bfloat16 must take less than this share of float32's time


@dataclass(frozen=True)
class Side:
    """Vectors ready to be multiplied, and what bounds the error of that."""

    vectors: torch.Tensor  # (n, D), of the precision
    lengths: Doubles  # (n,) ‖x‖, or a bound
    residuals: Doubles  # (n,) ‖x - x̂‖, x̂ being what `vectors` holds, or a bound

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> "Side":
        return Side(self.vectors[rows], self.lengths[rows], self.residuals[rows])


def side(vectors: Floats, precision: Precision) -> Side:
    """`vectors` (n, D) in that precision."""
    rounded = multiplied(vectors, precision)
    residuals = np.zeros(len(vectors)) if precision == "float32" else lengths(vectors - rounded.float().numpy())
    return Side(rounded, lengths(vectors), residuals)


def multiplied(vectors: Floats, precision: Precision) -> torch.Tensor:
    """`vectors` (n, D) as they are multiplied."""
    given = torch.from_numpy(np.require(vectors, np.float32, ["C", "W"]))
    return given if precision == "float32" else given.bfloat16()


@dataclass(frozen=True)
class Reach:
    """The longest of some documents, and how far the worst of them is from what it is multiplied as."""

    length: float
    residual: float


def reach(documents: Side) -> Reach:
    """Of all documents of a side."""
    return Reach(float(documents.lengths.max()), float(documents.residuals.max()))


def margins(queries: Side, documents: Reach) -> Doubles:
    """(Q,) how far a product, before it is rounded to the precision it is given in, can be from the score.

    |q·d - fl(q̂·d̂)| <= ‖q - q̂‖ ‖d‖ + ‖q̂‖ ‖d - d̂‖ + γ ‖q̂‖ ‖d̂‖, with the sum in float32. Processors' bfloat16
    instructions round sums in ways of their own, none of them worse than four times IEEE's, and flush tiny numbers.
    """
    near = queries.lengths + queries.residuals  # >= ‖q̂‖
    dim = queries.vectors.shape[1]
    sums = gamma(4 * dim + 8, 2.0**-24) * near * (documents.length + documents.residual)
    tiny = 2.0**-126 * dim * (1 + near + documents.length)
    parts = queries.residuals * documents.length + near * documents.residual + sums
    return np.asarray(parts * (1 + 1e-9) + tiny)


class Product:
    """Dot products of all pairs, written into the same memory each time: asking for new memory would take as long."""

    def __init__(self) -> None:
        self._memory: dict[torch.dtype, torch.Tensor] = {}

    def __call__(self, queries: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
        """(q, n), of the precision of the two; overwritten by the next call."""
        wanted, dtype = len(queries) * len(documents), queries.dtype
        if dtype not in self._memory or len(self._memory[dtype]) < wanted:
            self._memory[dtype] = torch.empty(wanted, dtype=dtype)
        return torch.mm(queries, documents.T, out=self._memory[dtype][:wanted].view(len(queries), len(documents)))


def suits(precision: Precision, queries: int, documents: int) -> Precision:
    """`precision`, or float32 where so few rows meet that it would not be worth it."""
    return precision if min(queries, documents) >= _LEAST else "float32"


@cache
def fastest() -> Precision:
    """bfloat16 where this machine multiplies it faster and sums it in float32. Measured once a process."""
    with torch.inference_mode():
        ones = torch.ones(_LEAST, 4096, dtype=torch.bfloat16)
        if not bool((ones @ ones.T == 4096).all()):  # a sum in bfloat16 stands still at 256
            return "float32"
        left, right = torch.ones(512, 384), torch.ones(4096, 384)
        brief = _seconds(left.bfloat16(), right.bfloat16())
        return "bfloat16" if brief < _GAIN * _seconds(left, right) else "float32"


def _seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    times = []
    for _ in range(4):
        start = time.perf_counter()
        torch.mm(left, right.T)
        times.append(time.perf_counter() - start)
    return min(times)
