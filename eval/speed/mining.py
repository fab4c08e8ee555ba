"""Mining beside sentence-transformers, from given vectors: search, filter, write. Time and peak memory.

    python -m eval.speed.mining [--documents 100000] [--queries 20000] [--dims 384] [--rounds 5]

Synthetic unit vectors in clusters; each query has one positive, a document near it. Both miners find 8 negatives a
query among the 100 nearest documents, drop what scores above 0.95 of the positive, and write Parquet. Encoding is left
out: sentence-transformers' `mine_hard_negatives` is given a model that returns the vectors, at the best of three batch
sizes each of its torch and its FAISS path; embedkit's miner finds them in its store's form. Runs are interleaved, times
are medians; peak memory is of a process of its own, over that of the vectors. `bare` is a tiled float32 product with
`torch.topk`, nothing else. Encoding is measured by eval.speed.encoding, growth by eval.speed.growth, approximate
indexes by eval.speed.searching. Writes results/mining-cpu.json.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from eval.recording import save
from eval.speed.measuring import interleaved, peak, peak_apart
from eval.speed.miners import Problem, bare, embedkit, overlap, sentence_transformers

SCRIPT = "eval.speed.mining"
BATCHES = (1024, 4096, 16384)
PATHS = {"ST torch": False, "ST faiss": True}


def main() -> None:
    """Measure, print and write."""
    args = _arguments()
    if args.peak_of:
        sys.stdout.write(f"{_peak(args)}\n")
        return
    problem = Problem.made(args.documents, args.queries, args.dims)
    with tempfile.TemporaryDirectory() as folder:
        ways = _ways(problem, Path(folder))
        quarter = _ways(problem.first(len(problem.queries) // 4), Path(folder))
        tried = {name: _once(way) for name, way in quarter.items() if name.startswith("ST")}
        best = [min((n for n in tried if n.startswith(path)), key=lambda n: tried[n]) for path in PATHS]
        seconds = interleaved(
            {n: way for n, way in ways.items() if n in best or not n.startswith("ST")}, rounds=args.rounds, device="cpu"
        )
        agreement = overlap(problem, Path(folder))
    size = ["--documents", str(args.documents), "--queries", str(args.queries), "--dims", str(args.dims)]
    peaks = {name: peak_apart(SCRIPT, ["--peak-of", name, *size]) for name in seconds}
    ratios = {name: seconds[name] / seconds["embedkit"] for name in seconds if name != "embedkit"}
    figures = {
        "documents": args.documents,
        "queries": args.queries,
        "dims": args.dims,
        "rounds": args.rounds,
        "batch_sizes_tried_on_a_quarter": tried,
        "seconds": seconds,
        "peak_bytes": peaks,
        "times_faster_than": ratios,
        "same_negatives": agreement,
    }
    _show(figures)
    Console().print(f"written to {save(SCRIPT, 'mining-cpu', figures).name}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--dims", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    return parser.parse_args()


def _ways(problem: Problem, folder: Path) -> dict[str, Callable[[], object]]:
    ways: dict[str, Callable[[], object]] = {
        "embedkit": lambda: embedkit(problem, folder),
        "bare": lambda: bare(problem),
    }
    for path, use_faiss in PATHS.items():
        for batch in BATCHES:

            def mine(use_faiss: bool = use_faiss, batch: int = batch) -> None:
                sentence_transformers(problem, folder, use_faiss=use_faiss, batch=batch)

            ways[f"{path} {batch}"] = mine
    return ways


def _once(way: Callable[[], object]) -> float:
    """Seconds of one run, after none: only to choose a batch size by."""
    import time

    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def _peak(args: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        small = Problem.made(2000, 500, args.dims)
        _ways(small, Path(folder))[args.peak_of]()  # libraries load outside the measurement
        problem = Problem.made(args.documents, args.queries, args.dims)
        return peak(_ways(problem, Path(folder))[args.peak_of], device="cpu")


def _show(figures: dict[str, Any]) -> None:
    table = Table(
        "way", "seconds", "times embedkit's", "peak MB", title=f"{figures['documents']} x {figures['queries']}"
    )
    for name, seconds in sorted(figures["seconds"].items(), key=lambda row: float(row[1])):
        ratio = figures["times_faster_than"].get(name, 1.0)
        table.add_row(name, f"{seconds:.2f}", f"{ratio:.2f}", f"{figures['peak_bytes'][name] / 2**20:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
