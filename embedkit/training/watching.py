"""What happens in the trainer between steps: progress is told, checkpoints are sealed, bad numbers stop the run."""

import json
from collections.abc import Mapping
from itertools import islice
from math import isfinite
from typing import Any, Final

from sentence_transformers import SentenceTransformerTrainer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from embedkit.core.errors import StageError
from embedkit.core.progress import Advance
from embedkit.core.stage import Context
from embedkit.core.store import write_atomically
from embedkit.training.checkpoints import Checkpoints
from embedkit.training.task import Task, own_state

LOGGED: Final = ("step", "loss", "learning_rate", "grad_norm")
NAN_BATCH: Final = "nan-batch.json"


class Watch(TrainerCallback):
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
        self.checkpoints.remember(state.global_step, own_state(self.task.loss))
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
