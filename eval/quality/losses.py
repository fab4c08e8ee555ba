"""What a loss is worth: one model fine-tuned with each, on the data that the loss is for.

    python -m eval.quality.losses [--data DIR] [--documents 2000] [--losses NAME ...] [--settings 2] [--seeds 0 1]

DIR is a BEIR folder with train, dev and test queries, by default the quickstart's; of a larger one `--documents` are
drawn: all that dev and test queries need, and others by a hash. Every loss has the same budget: its first `--settings`
settings are trained with the first seed, and the best by nDCG@10 on dev is trained with every seed and tested.
Differences are between means over the seeds, query by query; their 95 % intervals are of a paired bootstrap over the
test queries, so they tell what other queries would change, not what other seeds would. Interrupted, the same command
goes on. Writes results/losses.json and results/losses.md beside this file; with `--plan` it only says what it takes.
"""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console as Terminal

import embedkit
from embedkit.cli.console import Console
from embedkit.core.scores import read_per_query
from embedkit.core.stage import Stage
from embedkit.core.store import Store
from embedkit.estimate import forecast
from embedkit.evaluation.stage import Evaluate
from embedkit.evaluation.tasks import LocalTask
from embedkit.measures.significance import paired_bootstrap
from embedkit.pins import pin
from embedkit.plan import needed_for, plan
from embedkit.recipe import Recipe
from embedkit.training.options import Training
from eval.quality.contenders import DATA, REFERENCE, WAYS, Way, shared
from eval.quality.losses_table import markdown, show
from eval.quality.subset import write_subset, write_turned
from eval.recording import ROOT, save

METRIC = "ndcg@10"
Values = Mapping[str, float]  # query id -> metric


def main() -> None:
    """Choose, test, print and write."""
    args = _arguments()
    study = Study(
        ways={name: way for name, way in WAYS.items() if name in _compared(args.losses)},
        settings=args.settings,
        steps=args.steps,
        seeds=args.seeds,
        store=args.store,
        out=args.out,
    )
    write_subset(args.data, args.documents, study.subset)
    write_turned(study.subset, study.turned)
    Terminal(highlight=False).print(study.outlook())
    if args.plan:
        return
    figures = {"data": args.data.name} | study.run()
    save("eval.quality.losses", "losses", figures, table=markdown)
    show(figures)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "recipes" / "data" / "tldr", metavar="DIR")
    parser.add_argument("--documents", type=int, default=2000, help="how many to draw of a larger corpus")
    parser.add_argument("--losses", nargs="+", choices=list(WAYS), default=list(WAYS), metavar="NAME")
    parser.add_argument("--settings", type=int, choices=[1, 2, 3], default=2, help="how many to try of each loss")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--store", type=Path, default=ROOT / ".embedkit")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "quality-losses", help="the run folder")
    parser.add_argument("--plan", action="store_true", help="only say what would run, and for how long")
    return parser.parse_args()


def _compared(names: Sequence[str]) -> set[str]:
    """These losses, and those that they are held against."""
    return {REFERENCE, *names, *(DATA[WAYS[name].pairs][1] for name in names)}


@dataclass(frozen=True)
class Study:
    """Losses side by side, and where their trainings are kept."""

    ways: Mapping[str, Way]
    settings: int
    steps: int
    seeds: Sequence[int]
    store: Path
    out: Path

    @property
    def subset(self) -> Path:
        """The data, a BEIR folder."""
        return self.out / "inputs" / "data"

    @property
    def turned(self) -> Path:
        """A file of pairs of a document and its queries."""
        return self.out / "inputs" / "turned.jsonl"

    def outlook(self) -> str:
        """What would run, and for how long: as if the first setting of each loss were chosen."""
        recipe, store = self.recipe(dict.fromkeys(self.ways, 0)), Store(self.store.resolve())
        steps = plan(recipe.stages, pin(recipe.stages, store))
        wanted = {step.key: step for name in ("dev", "test") for step in needed_for(steps, name)}
        ahead = {f.step.key: f.seconds for f in forecast(list(wanted.values()), store) if not f.done}
        trainings = sum(isinstance(wanted[key].stage, Training) for key in ahead)
        return (
            f"{len(self.ways)} losses, {trainings} trainings ahead, about {sum(ahead.values()) / 60:.0f} minutes in all"
        )

    def run(self) -> dict[str, Any]:
        """All figures."""
        dev = self._make({}, "dev")
        best = {
            name: max(range(self.settings), key=lambda i, name=name: dev.mean(f"{name}_{i}"))  # type: ignore[misc]
            for name in self.ways
        }
        test = self._make(best, "test")
        pooled = {name: test.pooled([_seeded(name, seed) for seed in self.seeds]) for name in self.ways}
        references = {"base": test.values["base"], **pooled}
        return {
            "metric": METRIC,
            "documents": sum(1 for _ in (self.subset / "corpus.jsonl").open(encoding="utf-8")),
            "queries": {"dev": len(dev.values["base"]), "test": len(test.values["base"])},
            "steps": self.steps,
            "seeds": list(self.seeds),
            "base": {"dev": dev.mean("base"), "test": test.mean("base")},
            "losses": {
                name: {
                    "title": way.title,
                    "data": DATA[way.pairs][0],
                    "like": DATA[way.pairs][1],
                    "settings": [self._setting(way, i, f"{name}_{i}", dev) for i in range(self.settings)],
                    "chosen": best[name],
                    "test": {str(seed): test.mean(_seeded(name, seed)) for seed in self.seeds},
                    "test_mean": statistics.fmean(pooled[name].values()),
                    "minus": {other: _minus(pooled[name], references[other]) for other in _others(name)},
                }
                for name, way in self.ways.items()
            },
        }

    def recipe(self, chosen: Mapping[str, int]) -> Recipe:
        """All settings and their scores on dev; what is chosen, with every seed, and the scores on test."""
        first = {"steps": self.steps, "seed": self.seeds[0]}
        tried: dict[str, Stage] = {
            f"{name}_{i}": way.stage(i, **first) for name, way in self.ways.items() for i in range(self.settings)
        }
        final: dict[str, Stage] = {
            _seeded(name, seed): self.ways[name].stage(i, steps=self.steps, seed=seed)
            for name, i in chosen.items()
            for seed in self.seeds
        }
        stages = shared(self.subset, self.turned, WAYS["infonce_mined"].stage(0, **first))
        return Recipe(
            "quality-losses",
            {**stages, **tried, **final, "dev": _scores(tried, "dev"), "test": _scores(final, "test")},
        )

    def _make(self, chosen: Mapping[str, int], name: str) -> "Scores":
        recipe = self.recipe(chosen)
        with Console(as_json=False) as console:
            result = embedkit.run(
                recipe, store=self.store, out=self.out, until=name, progress=console.progress, emit=console.emit
            )
        found = read_per_query(result.artifacts[name].path)
        evaluate = recipe.stages[name]
        assert isinstance(evaluate, Evaluate)
        keys = {model: result.artifacts[model].key for model in evaluate.models}
        return Scores(
            {model: {query: row[METRIC] for query, row in found[key, "data"].items()} for model, key in keys.items()}
        )

    def _setting(self, way: Way, number: int, model: str, dev: "Scores") -> dict[str, Any]:
        stage = way.stage(number, steps=self.steps, seed=self.seeds[0])
        return {
            "label": way.label(number),
            "stage": stage.model_dump(mode="json"),
            "dev": dev.mean(model),
        }


@dataclass(frozen=True)
class Scores:
    """Models by name: their scores on one split."""

    values: Mapping[str, Values]

    def mean(self, model: str) -> float:
        """Of one model."""
        return statistics.fmean(self.values[model].values())

    def pooled(self, models: Sequence[str]) -> Values:
        """Of each query, the mean over models."""
        return {
            query: statistics.fmean(self.values[model][query] for model in models) for query in self.values[models[0]]
        }


def _scores(models: Mapping[str, Stage], split: Literal["dev", "test"]) -> Evaluate:
    tasks = {"data": LocalTask(data="data", split=split)}
    return Evaluate(models=("base", *models), tasks=tasks, metrics=(METRIC,))


def _seeded(name: str, seed: int) -> str:
    return f"{name}_seed{seed}"


def _others(name: str) -> list[str]:
    """What a loss is held against."""
    return [other for other in dict.fromkeys(("base", REFERENCE, DATA[WAYS[name].pairs][1])) if other != name]


def _minus(mine: Values, other: Values) -> dict[str, float]:
    queries = sorted(mine)
    return asdict(paired_bootstrap([mine[q] for q in queries], [other[q] for q in queries]))


if __name__ == "__main__":
    main()
