"""What another model makes of the texts that training shows, looked up by number."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from embedkit.core.columns import Picked
from embedkit.retrieval.encoder import StoredEncoder
from embedkit.retrieval.nearest import Vectors
from embedkit.training.examples import Examples
from embedkit.training.lists import Places


@dataclass(frozen=True)
class TextVectors:
    """Vectors of those texts of a numbered list that training uses."""

    vectors: Vectors  # (n, G)
    places: NDArray[np.int64]  # by number of the text: row of `vectors`

    def of(self, numbers: Sequence[int]) -> Tensor:
        """(len(numbers), G) float32, of unit length."""
        return normalize(torch.from_numpy(self.vectors[self.places[list(numbers)]]), dim=-1)


@dataclass(frozen=True)
class GuideVectors:
    """The guide's vectors of all queries and documents of some examples."""

    queries: TextVectors
    documents: TextVectors


def guide_vectors(encoder: StoredEncoder, examples: Examples) -> GuideVectors:
    """Every text that a row shows, encoded once, before training. Vectors stay on disk."""
    rows = examples.rows
    queries = np.unique(rows.queries)
    documents = np.unique(np.concatenate([rows.positives.values, rows.negatives.values]))
    return GuideVectors(
        TextVectors(
            encoder.stored("query", Picked(examples.queries, queries)), _places(queries, len(examples.queries))
        ),
        TextVectors(
            encoder.stored("document", Picked(examples.documents, documents)),
            _places(documents, len(examples.documents)),
        ),
    )


def _places(used: Places, size: int) -> NDArray[np.int64]:
    places = np.full(size, -1, dtype=np.int64)
    places[used] = np.arange(len(used))
    return places
