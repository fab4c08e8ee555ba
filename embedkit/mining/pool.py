"""Which documents may be negatives at all: a part of the corpus, searched as if it were the whole."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from embedkit.core.progress import Progress, silent
from embedkit.core.stage import Context
from embedkit.mining.filters import Rows
from embedkit.retrieval.nearest import Floats, Vectors
from embedkit.retrieval.searcher import Index, Searcher

_SAMPLE: Final = 4096  # queries that an approximate index is measured by are drawn from so many


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
    def open(
        index: Index, vectors: Vectors, rows: Rows | None, queries: Vectors, context: Context, *, top_k: int = 100
    ) -> "Pool":
        """`index` over these rows of the corpus' vectors, made for the `top_k` nearest of such queries as `queries`."""
        count = queries.shape[0]
        sample = queries[np.unique(np.linspace(0, count - 1, min(count, _SAMPLE)).astype(np.int64))]
        searched = vectors if rows is None else Some(vectors, rows)
        return Pool(index.open(searched, context.work, context.progress, queries=sample, top_k=top_k), rows)

    def __len__(self) -> int:
        return self.searcher.documents.shape[0]

    def search(self, queries: Floats, top_k: int, progress: Progress = silent) -> tuple[Rows, Floats]:
        """Rows and scores, both (Q, k), of each query's k = min(top_k, n) nearest documents of the pool."""
        found, scores = self.searcher.search(queries, top_k, progress)
        return (found if self.rows is None else self.rows[found]), scores

    def whole(self, documents: int) -> int | Rows:
        """All rows of the pool; of a pool that is the corpus, how many documents that has."""
        return documents if self.rows is None else self.rows
