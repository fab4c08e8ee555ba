"""Training beside the plain trainer of sentence-transformers: samples a second, peak memory, where a step's time goes.

    python -m eval.speed.training --data DIR [--sets tldr_pages medquad scifact mixture] [--steps 12] [--rounds 3]
                                  [--batch-size 64] [--device cpu] [--precision fp32] [--model DIR | bert-base]
                                  [--profile-steps 40] [--quality tldr_pages climate_fever] [--name NAME]

DIR has folders in BEIR's layout with a training split. all-MiniLM-L6-v2 learns from (query, document) pairs. All ways
see the same texts in the same batches in the same order, with dropout, and have one optimiser, schedule and precision.
`embedkit` is the stage `train` with its defaults; `plain` is SentenceTransformerTrainer and its loss
MultipleNegativesRankingLoss, `cached` the same in its cached form, in mini-batches of tokens. First a model without
dropout is trained for three steps by every way, and the losses must agree. Rounds are interleaved, each run has a
process of its own, times are medians over rounds; the first two steps of a run do not count, nor does embedkit's one
checkpoint, which comes after the last. Peak memory is of a whole run, over that before it.

Then the parts of embedkit's step, and seconds to a dev nDCG@10, see eval.speed.training_profile and
eval.speed.training_quality. `--sets` or `--quality` without a name, or `--profile-steps 0`, leave a part out. Writes
results/training-<name>.json, by default the device's name.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console
from rich.table import Table

from eval.recording import save
from eval.speed.measuring import product_rate
from eval.speed.training_profile import profile
from eval.speed.training_quality import quality
from eval.speed.training_sets import Texts, batches_of, bert_base, minilm, without_dropout, write_training_pairs
from eval.speed.trainings import WARM, WAYS, Job, Way, apart

SCRIPT = "eval.speed.training"
CHECKED: Final = WARM + 1  # steps
AGREE: Final = {"fp32": 2e-4, "bf16": 2e-2}  # how far losses may be apart, relatively: sums are made in other orders


def main() -> None:
    """Measure, print and write."""
    args = _arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        args.model = bert_base(minilm(), folder / "bert-base") if args.model == "bert-base" else Path(args.model)
        facts = {key: getattr(args, key) for key in ("batch_size", "steps", "rounds", "precision")}
        figures: dict[str, Any] = {"speed": [], "profile": {}, "quality": []}

        def keep() -> Path:  # after each part: a run takes hours
            found = {key: value for key, value in figures.items() if value}
            return save(SCRIPT, f"training-{args.name or args.device}", {**facts, "model": args.model.name, **found})

        jobs = {name: _job(name, args, folder / name) for name in args.sets}
        for name, job in jobs.items():
            figures["speed"].append(_measure(name, job, args, folder / name))
            if args.profile_steps:
                figures["profile"][name] = profile(replace(job, steps=args.profile_steps))
            keep()
        for name in args.quality:
            figures["quality"].append(quality(name, args, folder / "quality" / name))
            keep()
    Console().print_json(json.dumps({key: value for key, value in figures.items() if key != "speed"}))
    Console().print(f"written to {keep().name}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", default=["tldr_pages", "medquad", "scifact", "mixture"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12, help="of each run; two of them are not counted")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], help="default: bf16 on a GPU")
    parser.add_argument("--model", help="a model folder, or bert-base: of that size, random weights; default: MiniLM")
    parser.add_argument("--profile-steps", type=int, default=40)
    parser.add_argument("--quality", nargs="*", default=["tldr_pages", "climate_fever"])
    parser.add_argument("--quality-steps", type=int, default=60)
    parser.add_argument("--quality-every", type=int, default=10)
    parser.add_argument("--quality-queries", type=int, default=1000, help="of the dev split, at most")
    parser.add_argument("--quality-documents", type=int, default=1000, help="that they are asked of")
    parser.add_argument("--quality-seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--name", help="of the results; default: the device's")
    args = parser.parse_args()
    args.precision = args.precision or ("bf16" if args.device == "cuda" else "fp32")
    args.model = args.model or ("bert-base" if args.device == "cuda" else minilm())
    return args


def _job(name: str, args: argparse.Namespace, folder: Path) -> Job:
    pairs = write_training_pairs(args.data, name, folder / "pairs")
    batches = batches_of(pairs, minilm(), folder, steps=args.steps, batch_size=args.batch_size)
    (folder / "batches.json").write_text(json.dumps(batches), encoding="utf-8")
    return Job(
        way="embedkit",
        model=str(args.model),
        pairs=str(pairs),
        batches=str(folder / "batches.json"),
        steps=args.steps,
        batch_size=args.batch_size,
        device=args.device,
        precision=args.precision,
    )


def _measure(name: str, job: Job, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    checked = _check(job, folder)
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in range(args.rounds):
        for way in WAYS:
            runs[way].append(apart(replace(job, way=way)))
    seconds = {way: statistics.median(run["seconds_per_step"] for run in found) for way, found in runs.items()}
    batches = [Texts(*texts) for texts in json.loads(Path(job.batches).read_text(encoding="utf-8"))]
    result = {
        "set": name,
        **_padding(batches, job),
        "losses_without_dropout": checked,
        "seconds_per_step": seconds,
        "seconds_per_step_by_round": {way: [run["seconds_per_step"] for run in runs[way]] for way in WAYS},
        "samples_per_second": {way: job.batch_size / time for way, time in seconds.items()},
        "peak_bytes": {way: statistics.median(run["peak_bytes"] for run in found) for way, found in runs.items()},
        "times_faster_than": {way: seconds[way] / seconds["embedkit"] for way in WAYS if way != "embedkit"},
    }
    result |= _rates(result, job, seconds)
    _show(result)
    return result


def _check(job: Job, folder: Path) -> dict[Way, list[float]]:
    """The first losses of every way, which must be the same: equal batches, equal gradients."""
    model = without_dropout(Path(job.model), folder / "no-dropout")
    found = {way: apart(replace(job, way=way, model=str(model), steps=CHECKED))["losses"] for way in WAYS}
    for way, losses in found.items():
        torch.testing.assert_close(
            torch.tensor(losses), torch.tensor(found["plain"]), rtol=AGREE[job.precision], atol=0, msg=f"{way}: {found}"
        )
    return found


def _padding(batches: list[Texts], job: Job) -> dict[str, float]:
    """Tokens of a batch, and how many more there are where each column is padded to its longest text."""
    from transformers import AutoTokenizer

    from embedkit.retrieval.loading import load_model

    limit = load_model(Path(job.model), device="cpu").max_seq_length
    tokenizer = AutoTokenizer.from_pretrained(str(minilm()))
    counts = [
        [len(ids) for ids in tokenizer(column, truncation=True, max_length=limit)["input_ids"]]
        for texts in batches
        for column in texts
    ]
    tokens, padded = sum(map(sum, counts)), sum(len(column) * max(column) for column in counts)
    return {"tokens_per_batch": tokens / len(batches), "padding": 1 - tokens / padded}


def _rates(result: Mapping[str, Any], job: Job, seconds: Mapping[str, float]) -> dict[str, Any]:
    """Arithmetic of the texts' own tokens a second, as a share of what matrix products of 4096 rows reach."""
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(job.model)
    with torch.device("meta"):
        model: Any = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
    weights = sum(p.numel() for name, p in model.named_parameters() if "embeddings" not in name)
    dtype = torch.bfloat16 if job.precision == "bf16" else torch.float32
    rate = product_rate(4096, 4096, config.hidden_size, dtype=dtype, device=job.device)
    flops = 6 * weights * result["tokens_per_batch"]  # attention's own products left out
    return {"product_rate": rate, "share_of_product_rate": {way: flops / s / rate for way, s in seconds.items()}}


def _show(result: Mapping[str, Any]) -> None:
    table = Table(title=f"{result['set']}: {100 * result['padding']:.0f} % padding")
    for name in ("way", "s/step", "samples/s", "peak MB", "of products", "embedkit is"):
        table.add_column(name, justify="left" if name == "way" else "right")
    for way, seconds in result["seconds_per_step"].items():
        times = result["times_faster_than"].get(way)
        table.add_row(
            way,
            f"{seconds:.3f}",
            f"{result['samples_per_second'][way]:.1f}",
            f"{result['peak_bytes'][way] / 2**20:.0f}",
            f"{100 * result['share_of_product_rate'][way]:.0f} %",
            f"{times:.2f}x" if times else "",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
