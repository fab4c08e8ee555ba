"""Runs the sentence-transformers trainer so that it can be killed at any moment and resumed to the same end."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.model_card import SentenceTransformerModelCardCallback
from transformers import PrinterCallback

from embedkit.core.stage import Context
from embedkit.retrieval.encoder import load_model, no_progress_bars
from embedkit.training.arguments import training_arguments
from embedkit.training.checkpoints import Checkpoints
from embedkit.training.isolation import randomness_restored, tokenizer_restored
from embedkit.training.options import Training
from embedkit.training.task import Task
from embedkit.training.watching import LOGGED, Watch


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
        arguments = training_arguments(
            spec,
            model,
            checkpoints.root,
            steps=steps,
            batch_size=task.batch_size,
            batch_sampler=task.batch_sampler,
            prompts=task.prompts,
        )
        trainer = _trainer(model, task, arguments)
        trainer.add_callback(Watch(trainer, task, checkpoints, context, advance))
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


def _logged(history: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    return [{name: entry[name] for name in LOGGED if name in entry} for entry in history if "loss" in entry]
