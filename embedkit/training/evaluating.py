"""Scores a model while it trains, keeps its best weights, and stops it when they get no better."""

from pathlib import Path
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from embedkit.core.stage import Context
from embedkit.training.averaging import averaged
from embedkit.training.best_weights import BEST, link, save_learned
from embedkit.training.checkpoints import Checkpoints
from embedkit.training.distributed import from_main, is_main
from embedkit.training.early_stopping import Score, logged_as, scores_in, standing
from embedkit.training.held_out import HeldOut
from embedkit.training.isolation import randomness_restored, tokenizer_restored
from embedkit.training.stepping import Stepper


class Evaluating(TrainerCallback):
    """Scores the model before training and when it is due, with its averaged weights where there are any.

    All that it knows is in the trainer's log, which checkpoints hold, and in the weights of the best score, which they
    hold too: a resumed training goes on as if nothing had been. To be called before checkpoints are sealed, and after
    weights are averaged.
    """

    def __init__(
        self, trainer: Stepper, loss: nn.Module, held_out: HeldOut, checkpoints: Checkpoints, context: Context
    ) -> None:
        self.trainer, self.loss, self.held_out = trainer, loss, held_out
        self.checkpoints, self.context = checkpoints, context

    @property
    def best(self) -> Path:
        """Where the best weights are while the model trains."""
        return self.context.work / BEST

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if is_main():
            self.best.unlink(missing_ok=True)  # of a step after the last checkpoint, maybe
        if state.global_step == 0:
            self._score(state)
        elif is_main():
            link(self.checkpoints.folder(state.global_step) / BEST, self.best)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        spec = self.held_out.spec
        if not spec.due(state.global_step, state.max_steps):
            return
        self.trainer.tell()
        self._score(state)
        if standing(spec, scores_in(state.log_history, spec)).exhausted(spec):
            control.should_training_stop = control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if is_main() and self.held_out.spec.keep == "best":
            link(self.best, self.checkpoints.folder(state.global_step) / BEST)

    def _score(self, state: TrainerState) -> None:
        spec, model = self.held_out.spec, self.trainer.model
        with averaged(self.loss, model), randomness_restored(), tokenizer_restored(model):
            value = self.held_out.score(model)
            value = from_main(lambda: value)  # rounding may differ between machines; what follows must not
            self.trainer.log({logged_as(spec): value})
            found = standing(spec, scores_in(state.log_history, spec))
            if spec.keep == "best" and is_main() and found.best == Score(state.global_step, value):
                save_learned(model, self.best)
        self.context.emit("evaluated", {"step": state.global_step, "metric": spec.metric, "score": value})
