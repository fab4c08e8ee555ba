"""Codecs at work: what they learn from a sample of the documents, vectors to codes, and codes back to vectors."""

import abc
import importlib.util
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray

from embedkit.core.errors import DataError, EmbedkitError
from embedkit.evaluation.compression.variants import PQ, AnyCodec, BFloat16, Binary, Float16, Int8
from embedkit.retrieval.flat import import_faiss
from embedkit.retrieval.nearest import Floats

Codes = NDArray[Any]

CENTROIDS: Final = 256  # of a part: what a byte can tell apart
ADVISED: Final = 39 * CENTROIDS  # documents that FAISS advises to learn centroids from
_LEVELS: Final = 255


class Coder(abc.ABC):
    """Turns float32 vectors (n, d) into codes (n, w) of one type, and codes into the vectors they stand for."""

    dtype: ClassVar[str]  # as NumPy names it

    @property
    @abc.abstractmethod
    def width(self) -> int:
        """Numbers of a code, w."""

    @property
    def table_bytes(self) -> int:
        """What is kept besides, once for all documents."""
        return 0

    @abc.abstractmethod
    def encode(self, vectors: Floats) -> Codes:
        """(n, w) codes of vectors (n, d)."""

    @abc.abstractmethod
    def decode(self, codes: Codes) -> Floats:
        """(n, d) vectors that codes (n, w) stand for."""


def coder(codec: AnyCodec, sample: Floats, *, seed: int) -> Coder:
    """The coder that `codec` learns from a `sample` (S, d) of the documents.

    Raises `DataError` if the sample is too small for the codec or has a number of dimensions that it cannot take,
    `EmbedkitError` if a library it needs is not there.
    """
    dim = sample.shape[1]
    match codec:
        case Float16():
            return Halves(dim)
        case BFloat16():
            return BrainFloats(dim)
        case Int8():
            return Steps.between(sample.min(axis=0), sample.max(axis=0))
        case Binary():
            return Signs(dim)
        case PQ():
            return Products.learn(sample, codec.parts, seed=seed)
        case _:
            return Plain(dim)


@dataclass(frozen=True)
class Plain(Coder):
    """float32 itself."""

    dtype: ClassVar[str] = "<f4"
    dim: int

    @property
    def width(self) -> int:
        return self.dim

    def encode(self, vectors: Floats) -> Codes:
        return vectors

    def decode(self, codes: Codes) -> Floats:
        return np.asarray(codes, dtype=np.float32)


@dataclass(frozen=True)
class Halves(Coder):
    """float16. Raises `DataError` where a number is beyond it."""

    dtype: ClassVar[str] = "<f2"
    dim: int

    @property
    def width(self) -> int:
        return self.dim

    def encode(self, vectors: Floats) -> Codes:
        most = float(np.abs(vectors).max(initial=0))
        if most > float(np.finfo(np.float16).max):
            raise DataError(f"float16: cannot hold the number {most:.6g} of a vector; use bfloat16")
        return vectors.astype(np.float16)

    def decode(self, codes: Codes) -> Floats:
        return codes.astype(np.float32)


@dataclass(frozen=True)
class BrainFloats(Coder):
    """bfloat16, to the nearest and of two as near to the even one; NumPy holds its bits as integers."""

    dtype: ClassVar[str] = "<i2"
    dim: int

    @property
    def width(self) -> int:
        return self.dim

    def encode(self, vectors: Floats) -> Codes:
        given = torch.from_numpy(np.require(vectors, np.float32, ["C", "W"]))
        return np.asarray(given.bfloat16().view(torch.int16).numpy())

    def decode(self, codes: Codes) -> Floats:
        return (codes.astype(np.uint16).astype(np.uint32) << 16).view(np.float32)


@dataclass(frozen=True)
class Steps(Coder):
    """int8: the number of the step a value lies in, less 128; values outside the range lie in the outermost step.

    code = clip(floor((x - start) / step), 0, 255) - 128, which stands for start + (code + 128 + 1/2) width; `step` is
    `width`, (end - start) / 255, or 1 where a dimension has no range.
    """

    dtype: ClassVar[str] = "|i1"
    starts: Floats  # (d,)
    widths: Floats  # (d,)

    @staticmethod
    def between(starts: Floats, ends: Floats) -> "Steps":
        """Equal steps between the least and greatest value of each dimension, both (d,)."""
        return Steps(starts, ((ends - starts) / _LEVELS).astype(np.float32))

    @property
    def width(self) -> int:
        return len(self.starts)

    @property
    def table_bytes(self) -> int:
        return 8 * len(self.starts)  # the two ends of each dimension

    def encode(self, vectors: Floats) -> Codes:
        steps = np.where(self.widths == 0, np.float32(1), self.widths)
        return (np.clip(np.floor((vectors - self.starts) / steps), 0, _LEVELS) - 128).astype(np.int8)

    def decode(self, codes: Codes) -> Floats:
        return self.starts + (codes.astype(np.float32) + np.float32(128.5)) * self.widths


@dataclass(frozen=True)
class Signs(Coder):
    """A bit a dimension, the first in a byte's highest place; the last byte is filled with zeros."""

    dtype: ClassVar[str] = "|u1"
    dim: int

    @property
    def width(self) -> int:
        return -(-self.dim // 8)

    def encode(self, vectors: Floats) -> Codes:
        return np.packbits(vectors > 0, axis=1)

    def decode(self, codes: Codes) -> Floats:
        bits = np.unpackbits(codes, axis=1, count=self.dim)
        return bits.astype(np.float32) * 2 - 1


@dataclass(frozen=True)
class Products(Coder):
    """The numbers of the nearest centroids; learnt, and looked for, by FAISS."""

    dtype: ClassVar[str] = "|u1"
    quantizer: Any
    centroids: Floats  # (parts, 256, d / parts)

    @staticmethod
    def learn(sample: Floats, parts: int, *, seed: int) -> "Products":
        """k-means of each part of the `sample` (S, d). One machine gives the same centroids each time."""
        count, dim = sample.shape
        if dim % parts:
            raise DataError(f"pq: {parts} equal parts cannot be made of {dim} dimensions; {_divisors(dim)} can")
        if count < CENTROIDS:
            raise DataError(f"pq: learns {CENTROIDS} centroids a part and needs as many documents; there are {count}")
        check_pq()
        faiss = import_faiss("pq")
        quantizer = faiss.ProductQuantizer(dim, parts, 8)
        quantizer.cp.seed = seed
        quantizer.cp.min_points_per_centroid = 1  # it would print a warning; the stage has one of its own
        quantizer.train(np.ascontiguousarray(sample))
        return Products(quantizer, faiss.vector_to_array(quantizer.centroids).reshape(parts, CENTROIDS, -1))

    @property
    def width(self) -> int:
        return len(self.centroids)

    @property
    def table_bytes(self) -> int:
        return self.centroids.nbytes

    def encode(self, vectors: Floats) -> Codes:
        return np.asarray(self.quantizer.compute_codes(np.ascontiguousarray(vectors, dtype=np.float32)))

    def decode(self, codes: Codes) -> Floats:
        # not by FAISS: its threads spin for a while after such work, beside those of the multiplication that follows
        return self.centroids[np.arange(self.width), codes].reshape(len(codes), self.width * self.centroids.shape[2])


def check_pq() -> None:
    """Raise `EmbedkitError` if FAISS, which learns centroids, is not installed. Imports nothing."""
    if importlib.util.find_spec("faiss") is None:
        raise EmbedkitError("pq: FAISS is not installed; `pip install 'embedkit[cpu]'`, or leave this variant out")


def _divisors(number: int) -> str:
    return ", ".join(str(d) for d in range(1, number + 1) if number % d == 0)
