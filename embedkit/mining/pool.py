"""Which documents may be negatives at all: a part of the corpus, searched as if it were the whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from embedkit.core.progress import Progress, silent
from embedkit.mining.filters import NONE, Mask, Rows
from embedkit.retrieval.nearest import Floats, Vectors
from embedkit.retrieval.searcher import Searcher

OUTSIDE: Final = "relevant_to_none"


@dataclass(frozen=True)
class Some:
    """The vectors of some rows, read when they are asked for."""

    vectors: Vectors
    rows: Rows  # ascending

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, D)."""
        return len(self.rows), self.vectors.shape[1]

    def __getitem__(self, rows: slice | Rows, /) -> Floats:
        return self.vectors[self.rows[rows]]


@dataclass(frozen=True)
class Pool:
    """An index of some documents of the corpus, or of all. Rows are the corpus'."""

    searcher: Searcher
    rows: Rows | None  # ascending; None: all

    @staticmethod
    def vectors(vectors: Vectors, rows: Rows | None) -> Vectors:
        """What `Index.open` is given."""
        return vectors if rows is None else Some(vectors, rows)

    def __len__(self) -> int:
        return self.searcher.documents.shape[0]

    def search(self, queries: Floats, top_k: int, progress: Progress = silent) -> tuple[Rows, Floats]:
        """Rows and scores, both (Q, k), of each query's k = min(top_k, n) nearest documents of the pool."""
        found, scores = self.searcher.search(queries, top_k, progress)
        return (found if self.rows is None else self.rows[found]), scores

    def outside(self, rows: Rows) -> Mapping[str, Mask]:
        """(Q, K) under the reason's name, True for documents of other retrievers that are not of the pool."""
        return {} if self.rows is None else {OUTSIDE: ~np.isin(rows, self.rows) & (rows != NONE)}

    def whole(self, documents: int) -> int | Rows:
        """All rows of the pool; of a pool that is the corpus, how many documents that has."""
        return documents if self.rows is None else self.rows
