"""How much of a recipe's margin is luck: the recipe again with other seeds, and the margins' mean and spread.

    python -m eval.quality.seeds [--recipe recipes/quickstart.yaml] [--shifts 0 10 20] [--store DIR]

Every stage's seed is shifted by the same number; the weak stage and all training stages draw anew. Writes
results/seeds.json beside this file: figures, command, machine, versions, commit.
"""

import argparse
import json
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import embedkit
from embedkit.recipe import Recipe
from eval.recording import ROOT, save


def main() -> None:
    """Run the recipe once a seed, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "quickstart.yaml")
    parser.add_argument("--shifts", type=int, nargs="+", default=[0, 10, 20], help="added to every seed")
    parser.add_argument("--metric", default="ndcg@10")
    parser.add_argument("--store", type=Path, default=ROOT / ".embedkit")
    args = parser.parse_args()
    recipe = embedkit.load_recipe(args.recipe)
    runs = {shift: scores(shifted(recipe, shift), args.store, args.metric) for shift in args.shifts}
    names = list(next(iter(runs.values())))
    result: dict[str, Any] = {
        "recipe": args.recipe.name,
        "metric": args.metric,
        "runs": runs,
        "mean": {name: statistics.fmean(run[name] for run in runs.values()) for name in names},
        "spread": {name: statistics.pstdev(run[name] for run in runs.values()) for name in names},
    }
    for name in names:
        each = "  ".join(f"{run[name]:.4f}" for run in runs.values())
        print(f"{name:10} mean {result['mean'][name]:.4f}  sd {result['spread'][name]:.4f}   {each}")
    save("eval.quality.seeds", "seeds", result)


def shifted(recipe: Recipe, shift: int) -> Recipe:
    """The recipe with every stage's seed moved by `shift`."""
    stages = {
        name: stage.model_copy(update={"seed": stage.seed + shift}) if hasattr(stage, "seed") else stage
        for name, stage in recipe.stages.items()
    }
    return replace(recipe, stages=stages)


def scores(recipe: Recipe, store: Path, metric: str) -> dict[str, float]:
    """model -> metric, over the only task of the recipe."""
    with tempfile.TemporaryDirectory() as folder:
        result = embedkit.run(recipe, store=store, out=Path(folder) / "run")
        found = json.loads((result.out / "scores.json").read_text(encoding="utf-8"))
    return {name: next(iter(tasks.values()))[metric] for name, tasks in found.items()}


if __name__ == "__main__":
    main()
