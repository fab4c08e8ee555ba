"""Runs the sentence-transformers trainer so that it can be killed at any moment and resumed to the same end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.model_card import SentenceTransformerModelCardCallback
from transformers import PrinterCallback

from embedkit.core.stage import Context
from embedkit.retrieval.loading import load_model, no_progress_bars
from embedkit.training import trackers
from embedkit.training.arguments import training_arguments
from embedkit.training.best_weights import BEST
from embedkit.training.checkpoints import CHECKPOINTS, Checkpoints
from embedkit.training.continuation import Stop
from embedkit.training.distributed import from_main, is_main, meet
from embedkit.training.early_stopping import scores_in, standing, told
from embedkit.training.evaluating import Evaluating
from embedkit.training.held_out import HeldOut
from embedkit.training.isolation import randomness_restored, tokenizer_restored
from embedkit.training.lora import add_adapter, complete_adapter, reconnect, reread, unreported
from embedkit.training.memory_shortage import Shortage, beside_passes
from embedkit.training.options import Training
from embedkit.training.preparation import callbacks, finish, learned, prepare
from embedkit.training.rates import learning_rates
from embedkit.training.sharding import check_checkpoint, is_sharded, whole_again
from embedkit.training.stepping import Stepper, checkpointed
from embedkit.training.task import Task
from embedkit.training.trackers import tracking
from embedkit.training.watching import LOGGED, Watch


@dataclass(frozen=True)
class Trained:
    """What a training tells, besides the weights it has put into the model."""

    history: list[dict[str, float]]  # step, loss, learning_rate, grad_norm
    evaluation: Mapping[str, Any] = field(default_factory=dict)  # see `early_stopping.told`
    memory: Mapping[str, Any] = field(default_factory=dict)  # see `Shortage.facts`
    learned: Mapping[str, Any] = field(default_factory=dict)  # see `preparation.learned`
    warnings: Sequence[str] = ()  # besides theirs

    def added_to(self, stats: Mapping[str, Any]) -> dict[str, Any]:
        """Stats of a stage with what is told here, lines in the lists that there are."""
        found = dict(stats) | {"warnings": [*stats.get("warnings", ()), *self.warnings]}
        for name, part in (("evaluation", self.evaluation), ("memory", self.memory), ("learned", self.learned)):
            lines = {kind: part[kind] for kind in ("summary", "warnings") if kind in part}
            found |= {kind: [*found.get(kind, ()), *some] for kind, some in lines.items()}
            if part:
                found[name] = {key: value for key, value in part.items() if key not in lines}
        return found


def fit(
    spec: Training,
    model: SentenceTransformer,
    task: Task,
    *,
    steps: int,
    context: Context,
    held_out: HeldOut | None = None,
    until: int | None = None,
) -> Trained:
    """Train `model` in place for `steps` steps, or until its scores on what is `held_out` rise no more. `until`: stop
    after this step, so that another training can go on as if there had been no stop, see `continuation`.

    Emits `step` after each step, `evaluated` after each score and `checkpoint_saved` after each durable checkpoint
    below `context.work`, from the last of which an interrupted training goes on, with the same randomness and batches.
    A `StageError` at the first loss or gradient that is not finite, or where even one text in a pass is too much.
    """
    checkpoints = Checkpoints(context.work / CHECKPOINTS)
    done = from_main(checkpoints.newest)
    prepare(spec, model, task.loss)
    parameters = learned(model)
    shortage = Shortage(task.loss, context.work, context.emit)
    if done is not None:
        check_checkpoint(checkpoints.folder(done), sharded=is_sharded(spec.sharding))
        if is_main() and reconnect(model, checkpoints.folder(done)):
            checkpoints.seal(done)
        meet()
        task.loss.load_state_dict(checkpoints.remembered(done), strict=False)
    over = done is not None and (done >= (until or steps) or _stopped(spec, checkpoints.history(done)))
    if done is not None and over and not is_sharded(spec.sharding):
        model.load_state_dict(checkpointed(checkpoints.folder(done)).state_dict())
        reread(model, checkpoints.folder(done))
        log, best = checkpoints.history(done), checkpoints.folder(done) / BEST
    else:
        log, best = _train(spec, model, task, steps, context, held_out, shortage, done, until), context.work / BEST
    keeps_best = held_out is not None and held_out.spec.keep == "best" and best.exists()
    finish(spec, model, task.loss, best=best if keeps_best else None)
    scores = scores_in(log, spec.evaluate) if spec.evaluate is not None else []
    evaluation = told(spec.evaluate, scores, steps) if spec.evaluate is not None else {}
    warnings = []
    if spec.average is not None and until in (None, steps):
        warnings = spec.average.warnings(evaluation.get("kept", steps), steps)
    return Trained(_logged(log), evaluation, shortage.facts(), parameters, warnings)


def _train(
    spec: Training,
    model: SentenceTransformer,
    task: Task,
    steps: int,
    context: Context,
    held_out: HeldOut | None,
    shortage: Shortage,
    done: int | None,
    until: int | None,
) -> list[dict[str, Any]]:
    """What the trainer logged. `done` is the step of the checkpoint to go on from."""
    checkpoints = Checkpoints(context.work / CHECKPOINTS)
    logs = context.logs or context.work / "logs"
    with (
        no_progress_bars(),
        unreported(),
        randomness_restored(),
        tokenizer_restored(model),
        tracking(spec.trackers, logs),
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
            rates=learning_rates(
                task.loss, rate=spec.learning_rate, by_pattern=spec.learning_rates, layer_decay=spec.layer_decay
            ),
            name=context.name,
        )
        trainer = _trainer(model, task, arguments)
        trainer.shortage = shortage
        if until is not None and until < steps:
            trainer.add_callback(Stop(until))
        for callback in callbacks(model, task.loss, checkpoints):
            trainer.add_callback(callback)
        if held_out is not None:
            trainer.add_callback(Evaluating(trainer, task.loss, held_out, checkpoints, context))
        for callback in trackers.callbacks(spec.trackers, logs, name=arguments.run_name or spec.kind, done=done):
            trainer.add_callback(callback)
        trainer.add_callback(Watch(trainer, task, checkpoints, context, advance))
        with beside_passes(), whole_again(model, trainer):
            trainer.train(resume_from_checkpoint=str(checkpoints.folder(done)) if done is not None else None)
    return list(trainer.state.log_history)


def _stopped(spec: Training, log: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a training with this log was stopped early."""
    if spec.evaluate is None:
        return False
    return standing(spec.evaluate, scores_in(log, spec.evaluate)).exhausted(spec.evaluate)


def open_model(folder: Path, spec: Training) -> SentenceTransformer:
    """The model to train, with an adapter if `spec` wants one, in float32; in the numbers it is stored in where
    `frozen_weights` is bf16, for `prepare` to sort out."""
    with no_progress_bars():
        model: SentenceTransformer = load_model(
            folder,
            device="cpu" if spec.device == "cpu" else None,
            precision="bfloat16" if spec.precision == "bf16" else "float32",
            attention=spec.attn_implementation,
        )
    if spec.frozen_weights == "fp32":
        model.float()
    if spec.lora is not None:
        add_adapter(model, spec.lora, folder=folder, seed=spec.seed)
    return model


def save_model(model: SentenceTransformer, out: Path) -> None:
    """Write the model as an ordinary folder, adapters it still has beside its weights as they were before them; the
    card is the packaging's business."""
    with no_progress_bars():
        model.save(str(out), create_model_card=False)
        complete_adapter(model, out)


def _trainer(model: SentenceTransformer, task: Task, arguments: SentenceTransformerTrainingArguments) -> Stepper:
    model.model_card_data.widget = [{}]  # else the trainer searches the data for examples for a card nobody reads
    trainer = Stepper(
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
