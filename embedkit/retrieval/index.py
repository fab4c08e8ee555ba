"""Indexes a recipe can name: nearest documents by dot product, which for unit vectors is the cosine.

To add one: write a class whose results equal those of `Exact`, or say in its docstring how they differ, and add it to
`AnyIndex`.
"""

import importlib.util
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, JsonValue, PositiveInt

from embedkit.core.errors import DataError, EmbedkitError
from embedkit.core.progress import Progress
from embedkit.core.spec import Execution
from embedkit.retrieval.nearest import SPARE, Floats, Rows, Vectors, rounding, settle
from embedkit.retrieval.searcher import Index, Searcher

Find = Callable[[Floats, Vectors, int, Progress], tuple[Rows, Floats]]

logger = logging.getLogger(__name__)

_FAISS_GPU_LIMIT = 2048  # most neighbours its GPU indexes give


class _Settled(Searcher):
    """Settles what a float32 search found."""

    def __init__(self, documents: Vectors, find: Find, facts: Mapping[str, JsonValue]) -> None:
        super().__init__(documents)
        self._find, self._facts = find, facts

    @property
    def facts(self) -> Mapping[str, JsonValue]:
        return self._facts

    def _search(self, queries: Floats, top_k: int, progress: Progress) -> tuple[Rows, Floats]:
        slack = rounding(queries, self.documents)
        if not np.isfinite(slack).all():
            raise DataError("search: a vector holds NaN or infinity; the model that made it is damaged")
        count = min(top_k + SPARE, self.documents.shape[0])
        rows, last = self._find(queries, self.documents, count, progress)
        return settle(queries, self.documents, rows, last + slack, top_k=top_k)


class Exact(Index):
    """Compares every query with every document, tile by tile, on the accelerator if there is one."""

    kind: Literal["exact"] = "exact"
    query_tile: Annotated[PositiveInt, Execution()] = 1024
    document_tile: Annotated[PositiveInt, Execution()] = 16_384
    device: Annotated[Literal["auto", "cpu", "cuda"], Execution()] = "auto"  # auto: CUDA if there is a GPU

    def _open(self, documents: Vectors, work: Path | None, progress: Progress) -> Searcher:
        return _Settled(documents, self._candidates, {"index": "exact", "device": _device(self.device)})

    def _candidates(self, queries: Floats, documents: Vectors, count: int, progress: Progress) -> tuple[Rows, Floats]:
        device = _device(self.device)
        total = documents.shape[0]
        starts = range(0, len(queries), self.query_tile)
        best = [(torch.zeros(0, 0, dtype=torch.int64), torch.zeros(0, 0))] * len(starts)
        with progress("search", total) as advance:
            for first in range(0, total, self.document_tile):
                tile = _tensor(documents[first : first + self.document_tile], device)
                for i, start in enumerate(starts):
                    scores = _tensor(queries[start : start + self.query_tile], device) @ tile.T
                    best[i] = _merge(*best[i], scores, first, count)
                advance(len(tile))
        rows, kept = (torch.cat(parts) for parts in zip(*best, strict=True))
        return rows.numpy(), kept.amin(dim=1).numpy()


class Faiss(Index):
    """The same by FAISS' flat inner-product index, which holds all N x D numbers; on the GPUs if FAISS sees any."""

    kind: Literal["faiss"] = "faiss"
    query_tile: Annotated[PositiveInt, Execution()] = 1024
    document_tile: Annotated[PositiveInt, Execution()] = 16_384

    def check_installed(self) -> None:
        if importlib.util.find_spec("faiss") is None:
            raise _no_faiss()

    def _open(self, documents: Vectors, work: Path | None, progress: Progress) -> Searcher:
        _import_faiss()
        return _Settled(documents, self._candidates, {"index": "faiss"})

    def _candidates(self, queries: Floats, documents: Vectors, count: int, progress: Progress) -> tuple[Rows, Floats]:
        index = _faiss_index(_import_faiss(), queries.shape[1], count)
        total = documents.shape[0]
        with progress("index documents", total) as advance:
            for start in range(0, total, self.document_tile):
                tile = np.ascontiguousarray(documents[start : start + self.document_tile], dtype=np.float32)
                index.add(tile)
                advance(len(tile))
        rows, last = np.empty((len(queries), count), dtype=np.int64), np.empty(len(queries), dtype=np.float32)
        with progress("search", len(queries)) as advance:
            for start in range(0, len(queries), self.query_tile):
                part = slice(start, start + self.query_tile)
                scores, rows[part] = index.search(np.ascontiguousarray(queries[part], dtype=np.float32), count)
                last[part] = scores.min(axis=1)
                advance(len(scores))
        return rows, last


AnyIndex = Annotated[Exact | Faiss, Field(discriminator="kind")]


def _device(wanted: Literal["auto", "cpu", "cuda"]) -> str:
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise EmbedkitError("index exact: device is cuda, but torch finds no CUDA GPU; use `device: auto` or cpu")
    return "cuda" if there and wanted != "cpu" else "cpu"


def _tensor(array: Floats, device: str) -> torch.Tensor:
    """`array` on `device`; copied if it is read-only, as torch knows no such tensors."""
    return torch.from_numpy(np.require(array, np.float32, ["C", "W"])).to(device)


def _merge(
    rows: torch.Tensor, scores: torch.Tensor, found: torch.Tensor, first: int, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The best `count` of what is known (q, k) and a tile's scores `found` (q, n), whose first document is `first`."""
    best = found.topk(min(count, found.shape[1]), dim=1)
    if not len(rows):
        return best.indices.cpu() + first, best.values.cpu()
    rows = torch.cat([rows, best.indices.cpu() + first], dim=1)
    scores = torch.cat([scores, best.values.cpu()], dim=1)
    kept = scores.topk(min(count, scores.shape[1]), dim=1)
    return rows.gather(1, kept.indices), kept.values


def _import_faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise _no_faiss() from None
    return faiss


def _no_faiss() -> EmbedkitError:
    return EmbedkitError(
        "index faiss: FAISS is not installed; `pip install 'embedkit[cpu]'` (or 'embedkit[gpu]'), "
        "or use `index: {kind: exact}`"
    )


def _faiss_index(faiss: Any, dim: int, count: int) -> Any:
    """A flat index; on the GPUs, the documents split among them, if there are any and they can give `count` results."""
    gpus = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
    flat = faiss.IndexFlatIP(dim)
    if not gpus or count > _FAISS_GPU_LIMIT:
        logger.info("searching with FAISS on the CPU")
        return flat
    logger.info("searching with FAISS on %d GPUs", gpus)
    options = faiss.GpuMultipleClonerOptions()
    options.shard = True
    return faiss.index_cpu_to_all_gpus(flat, co=options)
