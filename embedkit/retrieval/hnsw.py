"""FAISS' graph index: slow to build, then fast also for few queries at a time."""

import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from embedkit.core.progress import Progress
from embedkit.retrieval.approximate import Approximate
from embedkit.retrieval.exact import fingerprint, tiles
from embedkit.retrieval.flat import faiss_installed, import_faiss, write_index
from embedkit.retrieval.kept import get_or_build, or_temporary
from embedkit.retrieval.nearest import SPARE, Floats, Vectors
from embedkit.retrieval.searcher import Index, Searcher

_FILE: Final = "graph.faiss"
_TILE: Final = 16_384  # documents added at a time; the graph depends on it
_WIDEST: Final = 4096  # ef_search to give up at


class HNSW(Index):
    """A navigable small-world graph by FAISS, on the CPU. Finds the share `recall` of the true nearest documents, as
    measured on a sample of queries.

    Built by one thread, so that the same documents give the same graph; holds all N x D numbers in memory.
    Reference: Malkov, Yashunin, Efficient and robust approximate nearest neighbor search using Hierarchical Navigable
    Small World graphs, https://arxiv.org/abs/1603.09320.
    """

    kind: Literal["hnsw"] = "hnsw"
    neighbours: Annotated[int, Field(ge=2)] = 32  # edges of a document, the paper's M
    ef_construction: PositiveInt = 100
    ef_search: PositiveInt | None = None  # candidates kept while searching; None: as few as reach `recall`
    recall: Annotated[float, Field(gt=0, le=1)] = 0.99
    seed: NonNegativeInt = 0  # of the sample of queries

    def check_installed(self) -> None:
        faiss_installed(self.kind)

    def _open(
        self, documents: Vectors, work: Path | None, progress: Progress, queries: Floats | None, top_k: int
    ) -> Searcher:
        faiss = import_faiss(self.kind)
        about = {
            "index": self.kind,
            "format": 1,
            "faiss": faiss.__version__,
            "neighbours": self.neighbours,
            "ef_construction": self.ef_construction,
            "documents": fingerprint(documents),
        }
        start = time.perf_counter()
        with or_temporary(work) as place:
            folder, reused = get_or_build(place, about, partial(_build, faiss, documents, self, progress))
            graph = faiss.read_index(str(folder / _FILE))
        searcher = Approximate(
            documents,
            graph,
            effort="ef_search",
            set_effort=partial(setattr, graph.hnsw, "efSearch"),
            least=min(top_k + SPARE, documents.shape[0]),
            most=_WIDEST,
            facts={
                "index": "hnsw",
                "device": "cpu",
                "build": {"seconds": round(time.perf_counter() - start, 3), "reused": reused},
            },
        )
        searcher.fit(queries, top_k, given=self.ef_search, recall=self.recall, seed=self.seed)
        return searcher


def _build(faiss: Any, documents: Vectors, spec: HNSW, progress: Progress, folder: Path) -> None:
    graph = faiss.IndexHNSWFlat(documents.shape[1], spec.neighbours, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = spec.ef_construction
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # several threads link in the order in which they happen to run
    try:
        with progress("index documents", documents.shape[0]) as advance:
            for _, tile in tiles(documents, _TILE):
                graph.add(tile)
                advance(len(tile))
    finally:
        faiss.omp_set_num_threads(threads)
    write_index(faiss, graph, folder / _FILE)
