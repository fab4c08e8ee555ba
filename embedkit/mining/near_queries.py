"""Which queries of a split ask nearly the same."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from embedkit.mining.filters import Rows
from embedkit.retrieval.index import Exact
from embedkit.retrieval.nearest import Vectors
from embedkit.retrieval.unit import UnitVectors

NEAREST: Final = 100  # of one query that are looked at


class NearQueries:
    """Finds queries (Q, D) whose cosine with another is at least `threshold`, among its 100 nearest."""

    def __init__(self, queries: Vectors, threshold: float) -> None:
        self.threshold = threshold
        self._queries = UnitVectors(queries)
        self._searcher = Exact().open(self._queries)

    def of(self, queries: range) -> Sequence[Rows]:
        """For each of these queries, the others, in ascending order."""
        found, scores = self._searcher.search(self._queries[queries.start : queries.stop], NEAREST + 1)
        near = (scores >= np.float32(self.threshold)) & (found != np.asarray(queries)[:, None])
        return [np.sort(rows[mask]) for rows, mask in zip(found, near, strict=True)]
