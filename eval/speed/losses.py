"""InfoNCE beside sentence-transformers: time and peak memory of the loss alone, and of a whole training step.

    python -m eval.speed.losses [--device cpu] [--batches 1024 4096 8192 16384] [--dims 384 1024] [--rounds 5]

The loss alone: forward and backward on given embeddings, one positive a query, temperature 0.05, against
MultipleNegativesRankingLoss and CachedMultipleNegativesRankingLoss at several mini-batch sizes, all with dot products
of unit vectors, which is their fastest setting. Runs are interleaved, times are medians; memory is of a process of its
own, over that of the inputs. Gradients are compared with those of the plain loss in float64 (or, where that does not
fit, of the cached one in float32). The Mann-Whitney loss is measured pair by pair and by its fast form. Writes
results/losses-<device>.json.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from embedkit.losses.pairwise import Evaluation, pair_sums
from eval.recording import save
from eval.speed.measuring import interleaved, peak, peak_apart, product_rate
from eval.speed.step import step_ways
from eval.speed.ways import Way, embeddings, variants

SCRIPT = "eval.speed.losses"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def main() -> None:
    """Measure, print and write."""
    args = _arguments()
    if args.peak_of:
        sys.stdout.write(f"{_peak(args.peak_of, args.batches[0], args.dims[0], args.dtypes[0], args.device)}\n")
        return
    alone = [_alone(batch, dims, dtype, args) for dtype in args.dtypes for dims in args.dims for batch in args.batches]
    step = _step(args) if args.step_batch else None
    figures = {"loss_alone": alone, "training_step": step, "mann_whitney": [_pairs(n, args) for n in (1024, 8192)]}
    path = save(SCRIPT, f"losses-{args.device}", {"rounds": args.rounds, **figures})
    Console().print(f"written to {path.name}")


def _arguments() -> argparse.Namespace:
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if cuda else "cpu")
    parser.add_argument("--batches", type=int, nargs="+")
    parser.add_argument("--dims", type=int, nargs="+", default=[384, 1024])
    parser.add_argument("--dtypes", choices=list(DTYPES), nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-limit", type=float, default=0.6, help="share of memory that a variant may need")
    parser.add_argument("--step-batch", type=int, help="queries of the training step; 0 leaves it out")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    args = parser.parse_args()
    on_gpu = args.device == "cuda"
    args.batches = args.batches or ([1024, 8192, 32768, 65536] if on_gpu else [1024, 4096, 8192, 16384])
    args.dtypes = args.dtypes or (["float32", "bfloat16"] if on_gpu else ["float32"])
    args.step_batch = (8192 if on_gpu else 256) if args.step_batch is None else args.step_batch
    return args


def _alone(batch: int, dims: int, dtype: str, args: argparse.Namespace) -> dict[str, Any]:
    queries, documents = embeddings(batch, dims, DTYPES[dtype], args.device)
    ways = variants(batch, args.device)
    quadratic = 4 * batch * batch * queries.element_size()
    if quadratic > args.memory_limit * _memory(args.device):
        del ways["plain"], ways["embedkit whole"]
    same = f"--batches {batch} --dims {dims} --dtypes {dtype} --device {args.device}".split()
    peaks = {name: peak_apart(SCRIPT, ["--peak-of", name, *same]) for name in ways}
    errors = _errors(ways, queries, documents)

    def fresh(way: Way) -> Callable[[], object]:
        def run() -> None:
            queries.grad = documents.grad = None
            way(queries, documents)

        return run

    seconds = interleaved({n: fresh(way) for n, way in ways.items()}, rounds=args.rounds, device=args.device)
    rate = product_rate(min(batch, 2048), batch, dims, dtype=DTYPES[dtype], device=args.device)
    limit = 3 * 2.0 * batch * batch * dims / rate
    result = {
        "batch": batch,
        "dims": dims,
        "dtype": dtype,
        "seconds": seconds,
        "peak_bytes": peaks,
        "relative_gradient_error": errors,
        "arithmetic_limit_seconds": limit,
        **_ratios(seconds, peaks, limit),
    }
    _show(result)
    return result


def _ratios(seconds: dict[str, float], peaks: dict[str, int], limit: float) -> dict[str, Any]:
    peers = [name for name in seconds if not name.startswith("embedkit")]
    best = min(peers, key=lambda name: seconds[name])
    lightest = min(peers, key=lambda name: peaks[name])
    return {
        "best_peer": best,
        "time_to_best_peer": seconds["embedkit"] / seconds[best],
        "time_to_cached_32": seconds["embedkit"] / seconds["cached 32"] if "cached 32" in seconds else None,
        "time_to_limit": seconds["embedkit"] / limit,
        "memory_to_plain": peaks["embedkit"] / peaks["plain"] if "plain" in peaks else None,
        "memory_to_lightest_peer": peaks["embedkit"] / peaks[lightest],
    }


def _errors(ways: dict[str, Way], queries: Tensor, documents: Tensor) -> dict[str, float]:
    """Of each way: ‖gradient − exact‖ / ‖exact‖ over both sides."""
    exact = _gradient(ways.get("plain", ways["cached 256"]), queries.detach().double(), documents.detach().double())
    return {
        name: float((_gradient(way, queries, documents).double() - exact).norm() / exact.norm())
        for name, way in ways.items()
    }


def _gradient(way: Way, queries: Tensor, documents: Tensor) -> Tensor:
    sides = [side.detach().requires_grad_() for side in (queries, documents)]
    way(*sides)
    return torch.cat([side.grad for side in sides if side.grad is not None])


def _peak(name: str, batch: int, dims: int, dtype: str, device: str) -> int:
    if name.startswith("step "):
        step = step_ways(batch, device)[name.removeprefix("step ")]
        step_ways(8, device)["plain"]()
        return peak(step, device=device)
    way = variants(batch, device)[name]
    way(*embeddings(64, dims, DTYPES[dtype], device))  # libraries load and threads start outside the measurement
    queries, documents = embeddings(batch, dims, DTYPES[dtype], device)
    return peak(lambda: way(queries, documents), device=device)


def _memory(device: str) -> int:
    import psutil

    return torch.cuda.mem_get_info()[1] if device == "cuda" else psutil.virtual_memory().total


def _step(args: argparse.Namespace) -> dict[str, Any]:
    """A training step of a model of MiniLM's size on texts of 32 tokens: forward, loss, backward."""
    ways = step_ways(args.step_batch, args.device)
    seconds = interleaved(ways, rounds=args.rounds, device=args.device)
    own = ["--batches", str(args.step_batch), "--device", args.device]
    peaks = {name: peak_apart(SCRIPT, ["--peak-of", f"step {name}", *own]) for name in ways}
    table = Table(title=f"training step, {args.step_batch} pairs of 32 tokens")
    for name in ("variant", "s", "peak MB"):
        table.add_column(name, justify="left" if name == "variant" else "right")
    for name, time in seconds.items():
        table.add_row(name, f"{time:.2f}", f"{peaks[name] / 1e6:.0f}")
    Console().print(table)
    best = min(time for name, time in seconds.items() if not name.startswith("embedkit"))
    own_best = min(time for name, time in seconds.items() if name.startswith("embedkit"))
    return {
        "batch": args.step_batch,
        "seconds": seconds,
        "peak_bytes": peaks,
        "cached_time_to_cached_peer": seconds["embedkit cached"] / seconds["cached"],
        "best_time_to_best_peer": own_best / best,
    }


def _pairs(positives: int, args: argparse.Namespace) -> dict[str, Any]:
    """Value and gradients of the Mann-Whitney loss for that many positives against 1,024 times as many negatives."""
    logits = 20 * torch.randn(1025 * positives, generator=torch.Generator().manual_seed(0)).to(args.device)

    def run(evaluation: Evaluation) -> Callable[[], object]:
        return lambda: pair_sums(logits[:positives].clone(), logits[positives:].clone(), evaluation)

    ways: dict[Evaluation, Callable[[], object]] = {"fast": run("fast")}
    if positives <= 1024 or args.device == "cuda":
        ways["pairs"] = run("pairs")
    seconds = interleaved(ways, rounds=args.rounds, device=args.device)
    for name, time in seconds.items():
        Console().print(f"mann_whitney, {positives} x {1024 * positives} pairs, {name}: {time:.3f} s")
    return {"positives": positives, "negatives": 1024 * positives, "seconds": seconds}


def _show(result: dict[str, Any]) -> None:
    table = Table(title=f"batch {result['batch']}, {result['dims']} dimensions, {result['dtype']}")
    for name in ("variant", "s", "of limit", "peak MB", "gradient error"):
        table.add_column(name, justify="left" if name == "variant" else "right")
    for name, seconds in result["seconds"].items():
        megabytes = result["peak_bytes"][name] / 1e6
        error = result["relative_gradient_error"][name]
        limit = seconds / result["arithmetic_limit_seconds"]
        table.add_row(name, f"{seconds:.3f}", f"{limit:.2f}x", f"{megabytes:.0f}", f"{error:.1e}")
    Console().print(table)
    memory = result["memory_to_plain"]
    Console().print(
        f"embedkit: {result['time_to_best_peer']:.2f}x the time of {result['best_peer']}"
        + (f", {memory:.2f}x the memory of plain" if memory else "")
    )


if __name__ == "__main__":
    main()
