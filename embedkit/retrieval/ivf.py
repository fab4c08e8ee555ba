"""Inverted lists: documents in clusters, each query compared with the documents of its nearest clusters only."""

import logging
import math
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt

from embedkit.core.progress import Progress
from embedkit.retrieval.approximate import Approximate
from embedkit.retrieval.exact import fingerprint, look_exactly, tiles
from embedkit.retrieval.flat import GPU_LIMIT, faiss_installed, gpu_count, import_faiss, to_gpus, write_index
from embedkit.retrieval.kept import get_or_build, or_temporary
from embedkit.retrieval.nearest import Floats, Vectors, lengths
from embedkit.retrieval.searcher import Index, Searcher

logger = logging.getLogger(__name__)

_FILE: Final = "lists.faiss"
_PER_LIST: Final = 40  # documents that each cluster is made from; fewer make FAISS complain
_ROUNDS: Final = 8
_TILE: Final = 16_384


class IVF(Index):
    """FAISS' inverted lists, on the GPUs if FAISS sees any. Finds the share `recall` of the true nearest documents, as
    measured on a sample of queries.

    Building holds all N x D numbers in memory; on a CPU, searching maps them from the disk. Clusters are spherical.
    """

    kind: Literal["ivf"] = "ivf"
    lists: PositiveInt | None = None  # None: four times the square root of the number of documents
    probes: PositiveInt | None = None  # lists looked into for each query; None: as few as reach `recall`
    recall: Annotated[float, Field(gt=0, le=1)] = 0.99
    seed: NonNegativeInt = 0  # of the clusters and of the sample of queries

    def check_installed(self) -> None:
        faiss_installed(self.kind)

    def count(self, documents: int) -> int:
        """Lists for that many documents."""
        if self.lists:
            return min(self.lists, documents)
        return max(1, min(round(4 * math.sqrt(documents)), documents // _PER_LIST))

    def _open(
        self, documents: Vectors, work: Path | None, progress: Progress, queries: Floats | None, top_k: int
    ) -> Searcher:
        faiss = import_faiss(self.kind)
        lists = self.count(documents.shape[0])
        about = {
            "index": self.kind,
            "format": 1,
            "faiss": faiss.__version__,
            "lists": lists,
            "seed": self.seed,
            "documents": fingerprint(documents),
        }
        start = time.perf_counter()
        with or_temporary(work) as place:
            folder, reused = get_or_build(place, about, partial(_build, faiss, documents, lists, self.seed, progress))
            # Mapped lists stay readable when the file of a temporary folder is removed.
            index = faiss.read_index(str(folder / _FILE), faiss.IO_FLAG_MMAP)
        gpus = gpu_count(faiss)
        index = to_gpus(faiss, index) if gpus else index
        searcher = Approximate(
            documents,
            index,
            effort="probes",
            set_effort=partial(_set_probes, faiss, index, on_gpus=bool(gpus)),
            least=1,
            most=min(lists, GPU_LIMIT) if gpus else lists,
            facts={
                "index": "ivf",
                "device": f"{gpus} GPUs" if gpus else "cpu",
                "lists": lists,
                "build": {"seconds": round(time.perf_counter() - start, 3), "reused": reused},
            },
        )
        searcher.fit(queries, top_k, given=self.probes, recall=self.recall, seed=self.seed)
        return searcher


def _set_probes(faiss: Any, index: Any, probes: int, *, on_gpus: bool) -> None:
    space = faiss.GpuParameterSpace() if on_gpus else faiss.ParameterSpace()
    space.set_index_parameter(index, "nprobe", probes)


def _build(faiss: Any, documents: Vectors, count: int, seed: int, progress: Progress, folder: Path) -> None:
    total, dim = documents.shape
    centroids = _clusters(faiss, documents, count, seed)
    quantizer = faiss.IndexFlatIP(dim)
    quantizer.add(centroids)
    index = faiss.IndexIVFFlat(quantizer, dim, count, faiss.METRIC_INNER_PRODUCT)
    nearest = look_exactly(centroids)  # twice as fast as FAISS' own assignment
    with progress("index documents", total) as advance:
        for first, tile in tiles(documents, _TILE):
            assigned = nearest.search(tile, 1)[0].ravel()
            rows = np.arange(first, first + len(tile))  # named, like the others: FAISS is given addresses only
            index.add_core(len(tile), *(faiss.swig_ptr(array) for array in (tile, rows, assigned)))
            advance(len(tile))
    write_index(faiss, index, folder / _FILE)


def _clusters(faiss: Any, documents: Vectors, count: int, seed: int) -> Floats:
    """(count, D) unit vectors by FAISS' k-means of a seeded sample of the documents' directions."""
    total, dim = documents.shape
    rows = np.random.default_rng(seed).choice(total, min(total, _PER_LIST * count), replace=False)
    vectors = np.array(documents[np.sort(rows)], dtype=np.float32)
    vectors /= np.maximum(lengths(vectors), 1e-30)[:, None].astype(np.float32)
    means = faiss.Kmeans(dim, count, niter=_ROUNDS, seed=seed % 2**31, spherical=True, min_points_per_centroid=1)
    means.train(vectors)
    return np.ascontiguousarray(means.centroids, dtype=np.float32)
