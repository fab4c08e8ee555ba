"""Vectors with fewer dimensions, before any codec."""

from dataclasses import dataclass

import numpy as np
import torch

from embedkit.core.errors import DataError
from embedkit.evaluation.compression.variants import PCA, AnyCode, Truncate
from embedkit.retrieval.nearest import Floats
from embedkit.retrieval.unit import UnitVectors


@dataclass(frozen=True)
class Reduction:
    """All dimensions, the first ones, or those along some directions."""

    dimensions: int  # d
    unit: bool = False  # whether the first ones are brought to length 1
    directions: Floats | None = None  # (D, d), orthonormal columns

    @property
    def table_bytes(self) -> int:
        """What is kept of it, once for all documents."""
        return 0 if self.directions is None else self.directions.nbytes

    def __call__(self, vectors: Floats) -> Floats:
        """(n, d) of vectors (n, D). A vector that is 0 in all dimensions kept stays 0."""
        if self.directions is not None:
            given = torch.from_numpy(np.require(vectors, np.float32, ["C", "W"])).double()
            return np.asarray((given @ torch.from_numpy(self.directions).double()).float().numpy())
        first = vectors[:, : self.dimensions]
        return UnitVectors(first)[:] if self.unit else first


def reduction(code: AnyCode, sample: Floats, *, unit: bool) -> Reduction:
    """What `code` does first. `sample` (S, D) of the documents; `unit`: whether vectors have length 1.

    Raises `DataError` if the vectors have fewer dimensions than are to be left.
    """
    dim = sample.shape[1]
    if not isinstance(code, Truncate | PCA):
        return Reduction(dim)
    if code.dimensions > dim:
        raise DataError(f"{code.label}: the model's vectors have {dim} dimensions; name at most as many")
    if isinstance(code, Truncate):
        return Reduction(code.dimensions, unit=unit)
    return Reduction(code.dimensions, directions=principal_directions(sample, code.dimensions))


def principal_directions(sample: Floats, count: int) -> Floats:
    """(D, count) eigenvectors of the sample's second moments, the greatest first, each with its largest entry positive.

    The moments are about 0, not about the mean: dot products are to be kept, not distances to the mean.
    """
    exact = sample.astype(np.float64)
    _, vectors = np.linalg.eigh(exact.T @ exact)
    chosen = vectors[:, ::-1][:, :count]
    largest = np.take_along_axis(chosen, np.abs(chosen).argmax(axis=0)[None], axis=0)
    return np.asarray(chosen * np.where(largest < 0, -1.0, 1.0), dtype=np.float32)
