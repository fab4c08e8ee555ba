"""Runs the sentence-transformers trainer so that it can be killed at any moment and resumed to the same end."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.sentence_transformer.model_card import SentenceTransformerModelCardCallback
from torch import Tensor, nn
from torch.utils.data import SequentialSampler
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from embedkit.core.errors import StageError
from embedkit.core.progress import Advance
from embedkit.core.stage import Context
from embedkit.core.store import write_atomically
from embedkit.retrieval.encoder import load_model, no_progress_bars
from embedkit.training.checkpoints import Checkpoints
from embedkit.training.isolation import randomness_restored, tokenizer_restored
from embedkit.training.options import Training

LOGGED = ("step", "loss", "learning_rate", "grad_norm")
NAN_BATCH = "nan-batch.json"


@dataclass(frozen=True)
class Task:
    """What is trained on, in the trainer's terms."""

    loss: nn.Module  # holds the model as `model`
    dataset: Dataset
    batch_size: int  # rows of `dataset` in a batch
    batch_sampler: Any  # as `batch_sampler` of its training arguments
    ids: Callable[[Sequence[int]], Mapping[str, Any]]  # rows of `dataset` -> what to tell who looks for a bad one
    collator: Any = None  # the trainer's own where None
    prompts: Mapping[str, str] | None = None  # by column, for the trainer's own collator


def fit(
    spec: Training, model: SentenceTransformer, task: Task, *, steps: int, context: Context
) -> list[dict[str, float]]:
    """Train `model` in place for `steps` steps; what was logged at each.

    Emits `step` after each step and `checkpoint_saved` after each durable checkpoint below `context.work`, from the
    last of which an interrupted training goes on, with the same randomness and batches. A `StageError` at the first
    loss or gradient that is not finite.
    """
    checkpoints = Checkpoints(context.work / "checkpoints")
    done = checkpoints.newest()
    if done is not None and done >= steps:
        model.load_state_dict(_checkpointed(checkpoints.folder(done)).state_dict())
        return _logged(checkpoints.history(done))
    with (
        no_progress_bars(),
        randomness_restored(),
        tokenizer_restored(model),
        context.progress("training", steps) as advance,
    ):
        trainer = _trainer(model, task, _arguments(spec, model, task, checkpoints.root, steps))
        trainer.add_callback(_Watch(trainer, task, checkpoints, context, advance))
        if done is not None:
            task.loss.load_state_dict(checkpoints.remembered(done), strict=False)
        trainer.train(resume_from_checkpoint=str(checkpoints.folder(done)) if done is not None else None)
    return _logged(trainer.state.log_history)


def open_model(folder: Path, device: str) -> SentenceTransformer:
    """The model to train, in float32."""
    with no_progress_bars():
        model: SentenceTransformer = load_model(folder, device="cpu" if device == "cpu" else None)
    model.float()
    return model


def save_model(model: SentenceTransformer, out: Path) -> None:
    """Write the model as an ordinary folder; the card is the packaging's business."""
    with no_progress_bars():
        model.save(str(out), create_model_card=False)


def _checkpointed(folder: Path) -> SentenceTransformer:
    with no_progress_bars():
        return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def numbered(steps: int) -> Dataset:
    """A data set with one row a step, for a collator that makes the batch of a step."""
    return Dataset.from_dict({"step": range(steps)})


def in_order(dataset: Dataset, batch_size: int, **_: Any) -> DefaultBatchSampler:
    """A batch sampler that gives the rows as they come."""
    return DefaultBatchSampler(SequentialSampler(dataset), batch_size=batch_size, drop_last=False)


def text_columns(columns: Mapping[str, Any]) -> Dataset:
    """A data set of texts and perhaps labels, for the collator of sentence-transformers."""
    return Dataset.from_dict(dict(columns))


def _arguments(
    spec: Training, model: SentenceTransformer, task: Task, folder: Path, steps: int
) -> SentenceTransformerTrainingArguments:
    schedule = "constant_with_warmup" if spec.schedule == "constant" else spec.schedule
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=task.batch_size,
        batch_sampler=task.batch_sampler,
        prompts=dict(task.prompts) if task.prompts else None,
        learning_rate=spec.learning_rate,
        lr_scheduler_type=schedule,
        warmup_steps=spec.warmup_steps(steps),
        optim="adamw_torch",
        weight_decay=spec.weight_decay,
        max_grad_norm=spec.max_grad_norm,
        bf16=spec.precision == "bf16",
        seed=spec.seed,
        use_cache=bool(getattr(model.config, "use_cache", False)),  # else the trainer changes the saved configuration
        use_cpu=spec.device == "cpu" or not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        dataloader_drop_last=True,
        ddp_broadcast_buffers=False,  # a collective at every forward, and processes may have other numbers of chunks
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=spec.save_steps(steps),
        report_to=[],
        disable_tqdm=True,
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # one process, one device: data-parallel threads would split the batch
    return arguments


def _trainer(
    model: SentenceTransformer, task: Task, arguments: SentenceTransformerTrainingArguments
) -> SentenceTransformerTrainer:
    model.model_card_data.widget = [{}]  # else the trainer searches the data for examples for a card nobody reads
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=task.dataset,
        loss=task.loss,
        data_collator=task.collator,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(SentenceTransformerModelCardCallback)
    return trainer


class _Watch(TrainerCallback):
    """Tells the run what happens, seals checkpoints, and stops at numbers that are not finite."""

    def __init__(
        self,
        trainer: SentenceTransformerTrainer,
        task: Task,
        checkpoints: Checkpoints,
        context: Context,
        advance: Advance,
    ) -> None:
        self.trainer = trainer
        self.task = task
        self.checkpoints = checkpoints
        self.context = context
        self.advance = advance

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.advance(state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **_: Any,
    ) -> None:
        if not logs or "loss" not in logs:
            return
        facts = {"step": state.global_step, **{name: float(logs[name]) for name in LOGGED if name in logs}}
        for name in ("loss", "grad_norm"):
            if not isfinite(facts.get(name, 0.0)):
                raise self._not_finite(name, state.global_step)
        self.advance(1)
        self.context.emit("step", facts)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.checkpoints.remember(state.global_step, _own_state(self.task.loss))
        self.checkpoints.seal(state.global_step)
        self.context.emit("checkpoint_saved", {"step": state.global_step})

    def _not_finite(self, name: str, step: int) -> StageError:
        sampler: Any = self.trainer.get_train_dataloader().batch_sampler
        epoch, position = divmod(step - 1, len(sampler))
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
        rows = next(islice(iter(sampler), position, None))
        path = self.context.work / NAN_BATCH
        write_atomically(path, json.dumps({"step": step, **self.task.ids(rows)}, indent=1))
        what = {"loss": "the loss", "grad_norm": "the gradient"}[name]
        return StageError(
            f"training: {what} at step {step} is not a finite number; lower learning_rate, raise temperature or use "
            f"precision fp32. The ids of its batch are in {path}"
        )


def _own_state(loss: nn.Module) -> dict[str, Tensor]:
    """What a loss holds besides the model, which is all that the trainer saves."""
    return {name: value for name, value in loss.state_dict().items() if "model" not in name.split(".")}


def _logged(history: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    return [{name: entry[name] for name in LOGGED if name in entry} for entry in history if "loss" in entry]
