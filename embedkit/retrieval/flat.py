"""FAISS' flat index: exact search by its brute force, for machines where FAISS sees GPUs."""

import importlib.util
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import JsonValue, PositiveInt

from embedkit.core.errors import EmbedkitError
from embedkit.core.progress import Progress
from embedkit.core.spec import Execution
from embedkit.retrieval.exact import check_lengths, longest_of, tiles
from embedkit.retrieval.nearest import SPARE, Floats, Rows, Vectors, lengths, rounding, settle
from embedkit.retrieval.searcher import Index, Searcher

logger = logging.getLogger(__name__)

GPU_LIMIT: Final = 2048  # most neighbours that FAISS' GPU indexes give, and most lists they probe


class Faiss(Index):
    """The same by FAISS' flat inner-product index, which holds all N x D numbers; on the GPUs if FAISS sees any."""

    kind: Literal["faiss"] = "faiss"
    query_tile: Annotated[PositiveInt, Execution()] = 1024
    document_tile: Annotated[PositiveInt, Execution()] = 16_384

    def check_installed(self) -> None:
        faiss_installed(self.kind)

    def _open(
        self, documents: Vectors, work: Path | None, progress: Progress, queries: Floats | None, top_k: int
    ) -> Searcher:
        faiss = import_faiss(self.kind)
        longest = longest_of(documents)
        flat = faiss.IndexFlatIP(documents.shape[1])
        gpus = gpu_count(faiss)
        flat = to_gpus(faiss, flat) if gpus else flat
        logger.info("searching with FAISS on %s", f"{gpus} GPUs" if gpus else "the CPU")
        with progress("index documents", documents.shape[0]) as advance:
            for _, tile in tiles(documents, self.document_tile):
                flat.add(tile)
                advance(len(tile))
        return _Flat(documents, flat, longest, self.query_tile, gpus=gpus)


class _Flat(Searcher):
    def __init__(self, documents: Vectors, index: Any, longest: float, query_tile: int, *, gpus: int) -> None:
        super().__init__(documents)
        self._index, self._longest, self._query_tile, self._gpus = index, longest, query_tile, gpus

    @property
    def facts(self) -> Mapping[str, JsonValue]:
        return {"index": "faiss flat", "device": f"{self._gpus} GPUs" if self._gpus else "cpu", "precision": "float32"}

    def _search(self, queries: Floats, top_k: int, progress: Progress) -> tuple[Rows, Floats]:
        check_lengths(lengths(queries), self._longest)
        count = min(top_k + SPARE, self.documents.shape[0])
        if self._gpus and count > GPU_LIMIT:
            raise EmbedkitError(
                f"index faiss: {top_k} neighbours asked for, and FAISS gives at most {GPU_LIMIT - SPARE} on GPUs; "
                "use `index: {kind: exact}`"
            )
        rows, last = np.empty((len(queries), count), dtype=np.int64), np.empty(len(queries))
        with progress("search", len(queries)) as advance:
            for start in range(0, len(queries), self._query_tile):
                part = slice(start, start + self._query_tile)
                scores, rows[part] = self._index.search(queries[part], count)
                last[part] = scores.min(axis=1)
                advance(len(scores))
        return settle(queries, self.documents, rows, last + rounding(queries, self._longest), top_k=top_k)


def gpu_count(faiss: Any) -> int:
    """GPUs that FAISS can use: none with its CPU build."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "get_num_gpus") else 0


def to_gpus(faiss: Any, index: Any) -> Any:
    """A copy of a FAISS index on all GPUs, its documents split among them."""
    options = faiss.GpuMultipleClonerOptions()
    options.shard = True
    return faiss.index_cpu_to_all_gpus(index, co=options)


def faiss_installed(kind: str) -> None:
    """Raise `EmbedkitError` if FAISS is not there, which an index of this kind needs. Imports nothing."""
    if importlib.util.find_spec("faiss") is None:
        raise _no_faiss(kind)


def write_index(faiss: Any, index: Any, path: Path) -> None:
    """Raises `OSError` where it cannot be written, as on a full disk."""
    try:
        faiss.write_index(index, str(path))
    except RuntimeError as error:
        raise OSError(str(error).splitlines()[-1]) from error


def import_faiss(kind: str) -> Any:
    """FAISS, or an `EmbedkitError` that says what to install."""
    try:
        import faiss
    except ImportError:
        raise _no_faiss(kind) from None
    return faiss


def _no_faiss(kind: str) -> EmbedkitError:
    return EmbedkitError(
        f"index {kind}: FAISS is not installed; `pip install 'embedkit[cpu]'` (or 'embedkit[gpu]'), "
        "or use `index: {kind: exact}` or ivf"
    )
