"""What every index promises: opened once over a corpus, then asked for the nearest documents of blocks of queries."""

import abc
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from embedkit.core.errors import DataError
from embedkit.core.progress import Progress, silent
from embedkit.core.spec import Spec
from embedkit.retrieval.nearest import Floats, Rows, Vectors


class Searcher(abc.ABC):
    """An index opened over the documents it searches. Made by `Index.open`."""

    exact: bool = True  # a query's best documents are the same however many are asked for

    def __init__(self, documents: Vectors) -> None:
        self.documents = documents

    @property
    @abc.abstractmethod
    def facts(self) -> Mapping[str, JsonValue]:
        """What searches, where and how well: device, arithmetic, seconds to build, measured recall ..."""

    def search(self, queries: Floats, top_k: int, progress: Progress = silent) -> tuple[Rows, Floats]:
        """Rows and scores, both (Q, k), of each query's k = min(top_k, N) nearest documents, for queries (Q, D).

        Best first, equal scores by row. Approximate indexes may miss documents, but always give k. Raises `DataError`
        if `top_k` < 1, queries have another dimension than the documents, or a query holds NaN or infinity.
        """
        _check(queries, self.documents, top_k)
        k = min(top_k, self.documents.shape[0])
        if not len(queries):
            return np.empty((0, k), dtype=np.int64), np.empty((0, k), dtype=np.float32)
        return self._search(np.ascontiguousarray(queries, dtype=np.float32), k, progress)

    @abc.abstractmethod
    def _search(self, queries: Floats, top_k: int, progress: Progress) -> tuple[Rows, Floats]:
        """The same for at least one query of the right dimension and 1 <= top_k <= N."""


class Index(Spec, abc.ABC):
    """Finds each query's nearest documents by dot product, which for unit vectors is the cosine."""

    kind: str

    def open(
        self,
        documents: Vectors,
        work: Path | None = None,
        progress: Progress = silent,
        *,
        queries: Floats | None = None,
        top_k: int = 100,
    ) -> Searcher:
        """Make ready to search `documents` (N, D): an array, or stored vectors, which are read slice by slice.

        An index that takes long to build keeps what it built in the folder `work`, and finds it there when asked for
        the same again. Approximate indexes measure their recall of the `top_k` nearest on a seeded sample of `queries`
        (any number, D), or of the documents where none are given, and choose by it how hard to look: results depend on
        these. Raises `DataError` if there are no documents or one holds NaN or infinity.
        """
        if not documents.shape[0]:
            raise DataError("search: there are no documents")
        if queries is not None and len(queries):
            _check(queries, documents, top_k)
        return self._open(documents, work, progress, queries if queries is not None and len(queries) else None, top_k)

    def search(
        self, queries: Floats, documents: Vectors, top_k: int, progress: Progress = silent
    ) -> tuple[Rows, Floats]:
        """`open`, and one `Searcher.search`."""
        return self.open(documents, progress=progress, queries=queries, top_k=top_k).search(queries, top_k, progress)

    def check_installed(self) -> None:
        """Raise `EmbedkitError` if a library this index needs is not installed. Imports nothing."""

    @abc.abstractmethod
    def _open(
        self, documents: Vectors, work: Path | None, progress: Progress, queries: Floats | None, top_k: int
    ) -> Searcher:
        """The same for at least one document; `queries` are at least one, or None."""


def _check(queries: Floats, documents: Vectors, top_k: int) -> None:
    if top_k < 1:
        raise DataError(f"search: top_k is {top_k}; it must be at least 1")
    if len(queries) and queries.shape[1] != documents.shape[1]:
        raise DataError(
            f"search: queries have {queries.shape[1]} dimensions and documents {documents.shape[1]}; "
            "they come from different models"
        )
