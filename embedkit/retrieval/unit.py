"""Vectors brought to unit length, so that dot products are cosines."""

from dataclasses import dataclass

import numpy as np

from embedkit.retrieval.nearest import Floats, Rows, Vectors


@dataclass(frozen=True)
class UnitVectors:
    """A view of vectors (n, D) as vectors of length 1; those of length 0 stay as they are."""

    vectors: Vectors

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, D)."""
        return self.vectors.shape

    def __getitem__(self, rows: slice | Rows) -> Floats:
        found = self.vectors[rows].astype(np.float64)
        lengths = np.sqrt(np.einsum("nd,nd->n", found, found))
        return np.asarray(found / np.where(lengths > 0, lengths, 1.0)[:, None], dtype=np.float32)
