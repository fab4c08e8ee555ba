"""Search among compressed vectors: how long each variant takes, side by side, with FAISS' flat indexes as peers.

    python -m eval.speed.compression [--documents 200000] [--queries 300] [--dims 384] [--top-k 10] [--rounds 5]

Vectors are random, drawn around centres; every variant searches all of them, all queries at once. What a search must
find is the same whatever the vectors, so what these give is not looked at here. Writes results/compression-cpu.json
and .md beside this file.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from embedkit.evaluation.compression.figures import sizes
from embedkit.evaluation.compression.searches import Archive
from embedkit.evaluation.compression.timing import clock
from embedkit.evaluation.compression.variants import Float32
from eval.quality.compression import VARIANTS
from eval.recording import save

Floats = NDArray[np.float32]
CENTRES = 1000


def main() -> None:
    """Measure, print and write."""
    args = _arguments()
    queries, documents = _vectors(args)
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(documents, Path(folder) / "codes", unit=True, sample=10_000, seed=0)
        searches = {variant.label: archive.search(variant) for variant in (Float32(), *VARIANTS)}
        bytes_ = {name: sizes(search, len(documents))["document"] for name, search in searches.items()}
        work: dict[str, Callable[[], object]] = {
            name: partial(search.look, queries, args.top_k) for name, search in searches.items()
        }
        peers, peer_bytes = _peers(queries, documents, args.top_k)
        times = clock(work | peers, queries=len(queries), rounds=args.rounds)
    figures = {
        **{name: getattr(args, name) for name in ("documents", "queries", "dims", "top_k", "rounds")},
        "bytes": bytes_ | peer_bytes,
        "seconds_per_1000_queries": times,
    }
    path = save("eval.speed.compression", "compression-cpu", figures)
    path.with_suffix(".md").write_text(_markdown(figures), encoding="utf-8")
    Console(highlight=False).print(_markdown(figures), markup=False)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("documents", 200_000), ("queries", 300), ("dims", 384), ("top-k", 10), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def _vectors(args: argparse.Namespace) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CENTRES, args.dims), dtype=np.float32)

    def near(count: int) -> Floats:
        found = rng.standard_normal((count, args.dims), dtype=np.float32) + centres[rng.integers(0, CENTRES, count)]
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        return found

    return near(args.queries), near(args.documents)


def _peers(queries: Floats, documents: Floats, top_k: int) -> tuple[dict[str, Callable[[], object]], dict[str, int]]:
    """FAISS' flat indexes: name -> a search, and name -> bytes of a document."""
    import faiss

    dims = documents.shape[1]
    flat = faiss.IndexFlatIP(dims)
    steps = faiss.IndexScalarQuantizer(dims, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    bits = faiss.IndexBinaryFlat(dims)
    steps.train(documents[:10_000])
    flat.add(documents)
    steps.add(documents)
    packed = [np.packbits(vectors > 0, axis=1) for vectors in (queries, documents)]
    bits.add(packed[1])

    def search(index: Any, asked: NDArray[Any]) -> object:
        faiss.omp_set_num_threads(torch.get_num_threads())
        return index.search(asked, top_k)

    ways = {
        "FAISS flat, float32": partial(search, flat, queries),
        "FAISS flat, int8": partial(search, steps, queries),
        "FAISS flat, binary": partial(search, bits, packed[0]),
    }
    return ways, dict(zip(ways, (4 * dims, dims, -(-dims // 8)), strict=True))


def _markdown(figures: Mapping[str, Any]) -> str:
    times = figures["seconds_per_1000_queries"]
    counts = list(next(iter(times.values())))
    base = next(iter(times.values()))
    head = [
        "vectors",
        "bytes",
        *(f"s, {n} thread{'s' if n != '1' else ''}" for n in counts),
        "times as fast as float32",
    ]
    rows = [
        [
            name,
            f"{figures['bytes'][name]:,}",
            *(f"{found[n]['median']:.2f}" for n in counts),
            " / ".join(f"{base[n]['median'] / found[n]['median']:.2f}" for n in counts),
        ]
        for name, found in times.items()
    ]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return (
        f"Seconds of search for 1,000 queries among {figures['documents']:,} vectors of {figures['dims']} dimensions: "
        f"{figures['queries']} queries at once, the best {figures['top_k']} each, medians of {figures['rounds']} "
        f"rounds in which all take turns.\n\n{table}\n"
    )


if __name__ == "__main__":
    main()
