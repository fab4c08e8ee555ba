"""Batches without duplicates of a million rows: set-up, batches a second and memory, beside sentence-transformers.

    python -m eval.speed.sampling [--rows 1000000] [--batch-sizes 64 1024] [--seconds 60] [--work DIR]

Three kinds of pairs: `apart`, each query has a document of its own; `shared`, three queries share one; `labels`, all
rows share a thousand documents, as where classes are documents. Each sampler runs in a process of its own: `set-up` is
what is done once, from opening the files on; the rate is of the batches of one pass or of those that `--seconds` allow,
and later ones of a pass may take longer; memory is anonymous memory (RssAnon) over that of the process with
everything imported. `far` is the time of embedkit's sampler to the last batch of the fifth pass, as after an
interruption; those of sentence-transformers are run through. Embedkit keeps out of a batch what is known to be relevant
to another of its queries, sentence-transformers equal texts; here these are the same rows. Writes
results/sampling.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from datasets import Dataset
from rich.console import Console
from rich.table import Table
from sentence_transformers.base.sampler import NoDuplicatesBatchSampler

from embedkit.core.pair_files import PAIRS
from embedkit.training.examples import open_examples
from embedkit.training.samplers import Batches
from eval.recording import save
from eval.speed.measuring import Anonymous
from eval.speed.synthetic import Column, Rows, ids, texts, write_table

SCRIPT: Final = "eval.speed.sampling"
KINDS: Final = {"apart": lambda n: n, "shared": lambda n: -(-n // 3), "labels": lambda n: min(n, 1000)}
PASSES: Final = 5  # to the far step


def main() -> None:
    """Measure, print and write."""
    args = _arguments()
    if args.inside:
        sys.stdout.write(json.dumps(measure(args.way, args.inside, args.batch_sizes[0], args.seconds)) + "\n")
        return
    runs = []
    for kind in args.kinds:
        with tempfile.TemporaryDirectory(dir=args.work) as name:
            place(Path(name), args.rows, KINDS[kind](args.rows))
            for size in args.batch_sizes:
                runs += [{"pairs": kind, "batch_size": size, **_apart(way, Path(name), size, args)} for way in WAYS]
                _show(runs)
    path = save(SCRIPT, "sampling", {"rows": args.rows, "seconds": args.seconds, "runs": runs})
    Console().print(f"written to {path.name}")


def place(folder: Path, rows: int, documents: int) -> None:
    """Write pairs of so many rows about so many documents, as an artifact and as a table of texts."""
    queries, passages = _numbered(8), _numbered(40)

    def relevant(some: Rows) -> Rows:
        return np.asarray(some * 7919 % documents)

    def lists(some: Rows) -> pa.Array:
        return pa.ListArray.from_arrays(np.arange(len(some) + 1, dtype=np.int32), pa.array(ids("d")(relevant(some))))

    def nothing(some: Rows) -> pa.Array:
        return pa.array([[]] * len(some), type=pa.list_(pa.string()))

    corpus = {"doc_id": ids("d"), "title": lambda some: [""] * len(some), "text": passages}
    write_table(folder / "corpus.parquet", documents, corpus)
    write_table(folder / "queries.parquet", rows, {"query_id": ids("q"), "text": queries})
    pairs = {"query_id": ids("q"), "positives": lists, "known": lists}
    write_table(folder / "pairs.parquet", rows, {**{f.name: nothing for f in PAIRS}, **pairs})
    columns = {"query": queries, "positive": lambda some: passages(relevant(some))}
    write_table(folder / "texts.parquet", rows, columns)


def _numbered(words: int) -> Column:
    """Texts that differ in their number."""
    endings = [text.split(" ", 1)[1] for text in texts(np.arange(97), words)]
    return lambda rows: [f"{row} {endings[row % 97]}" for row in rows.tolist()]


def measure(way: str, folder: Path, batch_size: int, limit: float) -> dict[str, Any]:
    """What a sampler takes."""
    with tempfile.TemporaryDirectory(dir=folder) as work, Anonymous("all") as memory:
        start = time.perf_counter()
        batches, far = WAYS[way](folder, Path(work), batch_size)
        ready = time.perf_counter()
        seen = rows = 0
        for batch in batches:
            seen, rows = seen + 1, rows + len(batch)
            if time.perf_counter() - ready > limit:
                break
        seconds = time.perf_counter() - ready
        begun = time.perf_counter()
        skipped = far()
        told = {"far_seconds": time.perf_counter() - begun, "far_step": skipped} if skipped else {}
    return {
        "set_up_seconds": ready - start,
        "batches": seen,
        "rows": rows,
        "seconds": seconds,
        "batches_per_second": seen / seconds,
        "rss_anon": max(memory.peaks.values()),
        **told,
    }


Way = Callable[[Path, Path, int], tuple[Iterator[Any], Callable[[], int]]]


def _embedkit(folder: Path, work: Path, size: int) -> tuple[Iterator[Any], Callable[[], int]]:
    examples = open_examples(folder, work)
    steps = len(examples.rows) // size

    def far() -> int:
        batches = Batches(examples, batch_size=size, steps=PASSES * steps, seed=0)
        batches[len(batches) - 1]
        return len(batches)

    batches = Batches(examples, batch_size=size, steps=steps, seed=0)
    return (batches[step] for step in range(steps)), far


def _peer(*, hashes: bool) -> Way:
    def way(folder: Path, work: Path, size: int) -> tuple[Iterator[Any], Callable[[], int]]:
        data = Dataset.from_parquet(str(folder / "texts.parquet"), cache_dir=str(work))
        sampler = NoDuplicatesBatchSampler(data, size, drop_last=True, precompute_hashes=hashes)
        sampler._build_hashes()  # else done for the first batch
        return iter(sampler), lambda: 0

    return way


WAYS: Final[dict[str, Way]] = {
    "embedkit": _embedkit,
    "NO_DUPLICATES": _peer(hashes=False),
    "NO_DUPLICATES_HASHED": _peer(hashes=True),
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 1024])
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--seconds", type=float, default=60, help="for the batches of a pass")
    parser.add_argument("--work", type=Path, help="a folder on a disk with space: 2 GB for a million rows")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    return parser.parse_args()


def _apart(way: str, folder: Path, size: int, args: argparse.Namespace) -> dict[str, Any]:
    own = ["--inside", str(folder), "--way", way, "--batch-sizes", str(size), "--seconds", str(args.seconds)]
    done = subprocess.run([sys.executable, "-m", SCRIPT, *own], stdout=subprocess.PIPE, text=True, check=True)
    return {"sampler": way, **json.loads(done.stdout.splitlines()[-1])}


def _show(runs: list[dict[str, Any]]) -> None:
    table = Table("pairs", "batch", "sampler", "set-up s", "batches/s", "rows/batch", "RssAnon MB", "far s")
    for run in runs:
        table.add_row(
            run["pairs"],
            str(run["batch_size"]),
            run["sampler"],
            f"{run['set_up_seconds']:.1f}",
            f"{run['batches_per_second']:,.0f}",
            f"{run['rows'] / run['batches']:.1f}",
            f"{run['rss_anon'] / 1e6:.0f}",
            f"{run['far_seconds']:.1f}" if "far_seconds" in run else "",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
