"""Seconds of training until the dev split's nDCG@10 reaches a fixed value: embedkit's defaults, and plain fine-tuning.

All start from one model and have the same pairs, batch size, learning rate, schedule and number of steps. `embedkit` is
the stage `train` with its defaults, `embedkit four` has the quickstart's loss (InfoNCE in four directions), `plain` is
the plain trainer with MultipleNegativesRankingLoss and the sampler that it recommends, without duplicates. The fixed
value is nine tenths of the way from the untrained model to the best of `plain`. Curves are means over seeds, which the
order of the pairs and the draw of dropout depend on. Time of evaluations is not counted.
"""

import json
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from embedkit.losses import InfoNCE
from eval.speed.training_sets import train, write_dev_split, write_training_pairs
from eval.speed.trainings import TEMPERATURE, Job, Way, apart, stage_of, their_arguments

WAYS: Final[tuple[Way, ...]] = ("embedkit", "embedkit four", "plain")
FOUR: Final = ("query_to_document", "query_to_query", "document_to_query", "document_to_document")
SHARE: Final = 0.9
RATE: Final = 5e-5


def quality(name: str, args: Namespace, folder: Path) -> dict[str, Any]:
    """Curves of each way, (step, seconds, dev nDCG@10), by seed and their means, and the seconds to the fixed value,
    None where it is not reached."""
    job = Job(
        way="embedkit",
        model=str(args.model),
        pairs=str(write_training_pairs(args.data, name, folder / "pairs")),
        batches="",
        steps=args.quality_steps,
        batch_size=args.batch_size,
        device=args.device,
        precision=args.precision,
        learning_rate=RATE,
        dev=str(folder / "dev.json"),
        every=args.quality_every,
    )
    asked = write_dev_split(
        args.data, name, Path(job.dev), queries=args.quality_queries, documents=args.quality_documents
    )
    by_seed: dict[str, list[list[list[float]]]] = {way: [] for way in WAYS}
    for seed, way in product(args.quality_seeds, WAYS):
        found = apart(replace(job, way=way, seed=seed), module="eval.speed.training_quality")
        by_seed[way].append(found["curve"])
    curves = {way: np.mean(found, axis=0).tolist() for way, found in by_seed.items()}
    start = curves["plain"][0][2]
    target = start + SHARE * (max(score for _, _, score in curves["plain"]) - start)
    return {
        "set": name,
        "queries": asked,
        "batch_size": args.batch_size,
        "seeds": args.quality_seeds,
        "target": target,
        "seconds": {way: _reached(curve, target) for way, curve in curves.items()},
        "curves": curves,
        "curves_by_seed": by_seed,
    }


def _reached(curve: Sequence[Sequence[float]], target: float) -> float | None:
    return next((seconds for _, seconds, score in curve if score >= target), None)


class Curve:
    """Scores of a model while it learns, and the seconds it has learned, but not those spent here."""

    def __init__(self, job: Job) -> None:
        parts = json.loads(Path(job.dev).read_text(encoding="utf-8"))
        parts["relevant_docs"] = {query: set(found) for query, found in parts["relevant_docs"].items()}
        self._parts, self._device = parts, job.device
        self.points: list[tuple[int, float, float]] = [(0, 0.0, self._score(Path(job.model)))]
        self._spent = 0.0
        self._start = time.perf_counter()

    def add(self, step: int, folder: Path) -> None:
        """The model in a checkpoint's folder is that of this step."""
        now = time.perf_counter()
        self.points.append((step, now - self._start - self._spent, self._score(folder)))
        self._spent += time.perf_counter() - now

    def begin(self) -> None:
        """What was before does not count."""
        self._start = time.perf_counter()

    def _score(self, folder: Path) -> float:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

        at: Any = {f"{name}_at_k": [10] for name in ("mrr", "ndcg", "accuracy", "precision_recall", "map")}
        evaluator = InformationRetrievalEvaluator(**self._parts, **at, write_csv=False)
        found = evaluator(SentenceTransformer(str(folder), device=self._device, local_files_only=True))
        return float(found[str(evaluator.primary_metric)])


def run(job: Job) -> dict[str, Any]:
    """The curve of a job."""
    curve = Curve(job)
    with tempfile.TemporaryDirectory() as folder:
        (_plain if job.way == "plain" else _embedkit)(job, Path(folder), curve)
    return {"curve": curve.points}


def _embedkit(job: Job, folder: Path, curve: Curve) -> None:
    def emit(event: str, facts: Any) -> None:
        if event == "checkpoint_saved":
            curve.add(facts["step"], folder / "work" / "checkpoints" / f"checkpoint-{facts['step']}")

    loss = InfoNCE(temperature=TEMPERATURE, directions=FOUR) if job.way == "embedkit four" else InfoNCE()
    stage = stage_of(job, checkpoint_every=job.every, loss=loss)
    curve.begin()
    train(stage, Path(job.model), Path(job.pairs), folder, emit)


def _plain(job: Job, folder: Path, curve: Curve) -> None:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from transformers import PrinterCallback, TrainerCallback

    from embedkit.core.pairs import read_pairs

    class Watch(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            curve.add(state.global_step, folder / f"checkpoint-{state.global_step}")

    pairs = read_pairs(Path(job.pairs))
    queries, documents = pairs.query_texts(), pairs.document_texts()
    columns = {
        "query": [queries[row.query_id] for row in pairs.rows],
        "document": [documents[row.positives[0]] for row in pairs.rows],
    }
    curve.begin()
    model = SentenceTransformer(job.model, device=job.device, local_files_only=True)
    saving = {"save_strategy": "steps", "save_steps": job.every, "save_total_limit": 1}
    trainer = SentenceTransformerTrainer(
        model=model,
        args=their_arguments(job, folder, batch_sampler="no_duplicates", **saving),
        train_dataset=Dataset.from_dict(columns),
        loss=MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE),
        callbacks=[Watch()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()


def main() -> None:
    """Run the job that the command line holds as JSON, and print what there is to tell as JSON."""
    job = Job(**json.loads(sys.argv[1]))
    torch.manual_seed(job.seed)
    found = run(job)
    sys.stdout.write(f"\n{json.dumps(found)}\n")


if __name__ == "__main__":
    main()
