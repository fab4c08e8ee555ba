"""Time and memory of `contamination`: training documents against evaluation documents, of random words.

    python -m eval.speed.contamination [--training 20000 80000] [--evaluation 20000] [--words 150] [--near-by minhash]

Words are drawn as natural language has them (the n-th commonest with probability 1 / n, of 100,000), and one training
document in a hundred is an evaluation document. Each size runs in a process of its own. Memory is anonymous memory
(RssAnon) over that of the process with everything imported. Writes results/<name>.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from embedkit.core.dataset import Dataset, open_dataset, write_dataset
from embedkit.core.pairs import Pair, Pairs, write_pairs
from embedkit.core.records import Corpus, Queries
from embedkit.evaluation.contamination.check import check, findings
from embedkit.evaluation.contamination.finder import Rules
from embedkit.evaluation.contamination.tasks import of_dataset
from embedkit.evaluation.contamination.training import Training
from eval.recording import save
from eval.speed.measuring import Anonymous

SCRIPT: Final = "eval.speed.contamination"
_WORDS: Final = 100_000
_SHARED: Final = 100  # one training document in so many is an evaluation document
_POSITIVES: Final = 10  # of a training query


def main() -> None:
    """Measure, print and write."""
    args = _arguments()
    if args.inside:
        sys.stdout.write(json.dumps(measure(args.inside, Rules(near_by=args.near_by))) + "\n")
        return
    runs = []
    for size in args.training:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), size, args.evaluation, args.words)
            words = [sys.executable, "-m", SCRIPT, "--inside", folder, "--near-by", args.near_by]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
        runs.append({"training": size, "evaluation": args.evaluation, **json.loads(done.stdout.splitlines()[-1])})
        _show(runs)
    path = save(SCRIPT, args.name, {"words": args.words, "runs": runs})
    Console().print(f"written to {path.name}")


def write(folder: Path, training: int, evaluation: int, words: int) -> None:
    """Training pairs and an evaluation set."""
    rng = np.random.default_rng(0)
    odds = 1 / np.arange(1, _WORDS + 1)

    def texts(n: int, length: int) -> list[str]:
        drawn = rng.choice(_WORDS, size=(n, length), p=odds / odds.sum())
        return [" ".join(f"w{word}" for word in row) for row in drawn]

    held = texts(evaluation, words)
    seen = texts(training, words)
    for place in range(0, training, _SHARED):
        seen[place] = held[place % evaluation]
    asked = texts(training // _POSITIVES, 8)
    ids, query_ids = [f"t{i}" for i in range(training)], [f"p{i}" for i in range(len(asked))]
    rows = [Pair(q, tuple(ids[i * _POSITIVES : (i + 1) * _POSITIVES])) for i, q in enumerate(query_ids)]
    (folder / "train").mkdir()
    write_pairs(folder / "train", Pairs(Corpus(ids, [""] * training, seen), Queries(query_ids, asked), rows))
    judged = {f"q{i}": {f"d{i}": 1} for i in range(min(1000, evaluation))}
    queries = Queries(list(judged), texts(len(judged), 8))
    (folder / "held").mkdir()
    corpus = Corpus([f"d{i}" for i in range(evaluation)], [""] * evaluation, held)
    write_dataset(folder / "held", Dataset(corpus, queries, {"test": judged}))


def measure(folder: Path, rules: Rules) -> dict[str, Any]:
    """Seconds, peak of RssAnon in bytes over what is there before, and what was found."""
    (folder / "work-held").mkdir()
    with Anonymous("all") as memory:
        start = time.perf_counter()
        training = Training(folder / "train", folder / "work")
        task = of_dataset("held", open_dataset(folder / "held", folder / "work-held"))
        checked = check(training, [task], rules)
        found = findings(checked, rules)
        seconds = time.perf_counter() - start
    exact = sum(row["found"].get("exact", 0) for row in found["tasks"][0]["found"])
    return {"near_by": checked.near_by, "seconds": round(seconds, 2), "memory": memory.peaks["all"], "exact": exact}


def _show(runs: Sequence[dict[str, Any]]) -> None:
    table = Table("training", "evaluation", "near by", "seconds", "MB", "the same", box=None)
    for run in runs:
        sizes = f"{run['training']:,}", f"{run['evaluation']:,}"
        table.add_row(
            *sizes, run["near_by"], f"{run['seconds']:.1f}", f"{run['memory'] / 1e6:.0f}", f"{run['exact']:,}"
        )
    Console().print(table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--training", type=int, nargs="+", default=[20_000, 80_000])
    parser.add_argument("--evaluation", type=int, default=20_000)
    parser.add_argument("--words", type=int, default=150)
    parser.add_argument("--near-by", choices=["auto", "exact", "minhash"], default="auto")
    parser.add_argument("--name", default="contamination")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
