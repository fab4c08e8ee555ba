"""One training in a process of its own: embedkit's stage, or the plain trainer of sentence-transformers.

All see the same texts in the same batches in the same order, with the same optimiser, schedule and precision, each at
its best settings otherwise. What is told of a run: its losses, the seconds of its steps, its peak memory.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

import torch

from embedkit.losses import InfoNCE
from embedkit.training.stage import Train
from eval.speed.measuring import peak, synchronize
from eval.speed.training_sets import train

Way = Literal["embedkit", "plain", "cached", "embedkit four"]
WAYS: Final[tuple[Way, ...]] = ("embedkit", "plain", "cached")
TEMPERATURE: Final = 0.05
WARM: Final = 2  # steps that are not counted
BUDGETS: Final = {"cpu": 2048, "cuda": 32_768}  # tokens of a mini-batch of the cached peer


@dataclass(frozen=True)
class Job:
    """What to train, and how. `batches` is a JSON file of [queries, documents] for each step."""

    way: Way
    model: str
    pairs: str
    batches: str
    steps: int
    batch_size: int
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["fp32", "bf16"] = "fp32"
    learning_rate: float = 2e-5
    dev: str = ""  # JSON of a dev split, and steps between looks at it: for eval.speed.training_quality
    every: int = 0
    seed: int = 0


def apart(job: Job, *, module: str = "eval.speed.trainings") -> dict[str, Any]:
    """What `main` of the module tells of a job, in a fresh process."""
    command = [sys.executable, "-m", module, json.dumps(asdict(job))]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{job.way}: {result.stderr.strip()[-2000:]}")
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


class Times:
    """When each step was done."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.at: list[float] = []

    def mark(self) -> None:
        """A step is done. GPUs are waited for only where counting begins, and by `per_step`."""
        if len(self.at) == WARM - 1:
            synchronize(self.device)
        self.at.append(time.perf_counter())

    def per_step(self, steps: int) -> float:
        """Mean seconds of the steps that count."""
        return (self.at[steps - 1] - self.at[WARM - 1]) / (steps - WARM)


def run(job: Job) -> dict[str, Any]:
    """Losses, seconds a step, bytes at the peak over those before."""
    losses: list[float] = []
    times = Times(job.device)
    work = embedkit if job.way == "embedkit" else sentence_transformers
    with tempfile.TemporaryDirectory() as folder:
        bytes_ = peak(lambda: work(job, Path(folder), losses, times), device=job.device)
    return {
        "losses": losses,
        "seconds_per_step": times.per_step(job.steps),
        "seconds": [b - a for a, b in pairwise(times.at)],
        "peak_bytes": bytes_,
    }


def stage_of(job: Job, **others: Any) -> Train:
    """The stage of a job."""
    settings: dict[str, Any] = {"checkpoint_every": job.steps, "loss": InfoNCE(temperature=TEMPERATURE)} | others
    return Train(
        model="model",
        pairs="pairs",
        steps=job.steps,
        batch_size=job.batch_size,
        learning_rate=job.learning_rate,
        precision=job.precision,
        device="cpu" if job.device == "cpu" else "auto",
        seed=job.seed,
        **settings,
    )


def embedkit(job: Job, folder: Path, losses: list[float], times: Times) -> None:
    """As a recipe trains, but with its only checkpoint at the end, which the peers do without."""

    def emit(event: str, facts: Any) -> None:
        if event == "step":  # told late on a GPU, so it is no sign that the step is done
            losses.append(facts["loss"])

    def done(step: int) -> None:
        if step == job.steps:
            synchronize(job.device)
        times.mark()

    at_step_ends(done)
    train(stage_of(job), Path(job.model), Path(job.pairs), folder, emit)


def at_step_ends(done: Callable[[int], None]) -> None:
    """From now on call `done` with the number of each step that embedkit's trainer ends, where peers' callbacks are."""
    from embedkit.training.watching import Watch

    original = Watch.on_step_end

    def watched(self: Watch, args: Any, state: Any, control: Any, **others: Any) -> None:
        original(self, args, state, control, **others)
        done(state.global_step)

    Watch.on_step_end = watched  # type: ignore[method-assign]


def sentence_transformers(job: Job, folder: Path, losses: list[float], times: Times) -> None:
    """The plain trainer with MultipleNegativesRankingLoss, or with its cached form in mini-batches of tokens."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers.base.sampler import DefaultBatchSampler
    from sentence_transformers.sentence_transformer import losses as theirs
    from torch.utils.data import SequentialSampler
    from transformers import PrinterCallback, TrainerCallback

    class Watch(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == job.steps:
                synchronize(job.device)
            times.mark()

    def in_order(dataset: Any, batch_size: int, **_: Any) -> DefaultBatchSampler:
        return DefaultBatchSampler(SequentialSampler(dataset), batch_size=batch_size, drop_last=False)

    batches = json.loads(Path(job.batches).read_text(encoding="utf-8"))
    columns = {name: [text for batch in batches for text in batch[at]] for at, name in enumerate(("query", "document"))}
    model = SentenceTransformer(job.model, device=job.device, local_files_only=True)
    scale = 1 / TEMPERATURE
    if job.way == "plain":
        loss: Any = theirs.MultipleNegativesRankingLoss(model, scale=scale)
    else:
        loss = theirs.CachedMultipleNegativesRankingLoss(
            model, scale=scale, mini_batch_size=job.batch_size, mini_batch_num_tokens=BUDGETS[job.device]
        )
    trainer = SentenceTransformerTrainer(
        model=model,
        args=their_arguments(
            job, folder, batch_sampler=in_order, logging_steps=1 if job.steps <= WARM + 1 else job.steps
        ),
        train_dataset=Dataset.from_dict(columns),
        loss=loss,
        callbacks=[Watch()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    losses += [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def their_arguments(job: Job, folder: Path, **others: Any) -> Any:
    """Arguments of the plain trainer: optimisation as embedkit's, all else at its best."""
    from sentence_transformers import SentenceTransformerTrainingArguments

    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": job.steps,
        "per_device_train_batch_size": job.batch_size,
        "learning_rate": job.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": -(-job.steps // 10),
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "bf16": job.precision == "bf16",
        "use_cpu": job.device == "cpu",
        "dataloader_num_workers": 4 if job.device == "cuda" else 0,  # two cores have none to spare
        "dataloader_pin_memory": job.device == "cuda",
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "seed": job.seed,
    }
    return SentenceTransformerTrainingArguments(**(settings | others))


def main() -> None:
    """Run the job that the command line holds as JSON, and print what there is to tell as JSON."""
    torch.manual_seed(0)
    found = run(Job(**json.loads(sys.argv[1])))
    sys.stdout.write(f"\n{json.dumps(found)}\n")


if __name__ == "__main__":
    main()
