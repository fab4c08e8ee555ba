"""What happens in the trainer between steps: progress is told, checkpoints are sealed, bad numbers stop the run."""

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from embedkit.core.errors import StageError, ToldElsewhere
from embedkit.core.progress import Advance
from embedkit.core.stage import Context
from embedkit.training.bad_batches import write_bad_batch
from embedkit.training.checkpoints import Checkpoints
from embedkit.training.distributed import is_main, meet, rank, world_size
from embedkit.training.numbers import Numbers
from embedkit.training.stepping import Stepper
from embedkit.training.task import Task, own_state

LOGGED: Final = ("step", "loss", "learning_rate", "grad_norm")


class Watch(TrainerCallback):
    """Tells the run what happens, seals checkpoints, and stops at numbers that are not finite."""

    def __init__(
        self, trainer: Stepper, task: Task, checkpoints: Checkpoints, context: Context, advance: Advance
    ) -> None:
        self.trainer = trainer
        self.task = task
        self.checkpoints = checkpoints
        self.context = context
        self.advance = advance

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.advance(state.global_step)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        self.trainer.note(state.global_step + 1, float(others["optimizer"].param_groups[0]["lr"]))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.trainer.tell(wait=control.should_save or state.global_step >= state.max_steps)

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
        if (numbers := self.trainer.last) is not None and numbers.problem:
            raise self._not_finite(numbers)
        self.advance(1)
        self.context.emit(
            "step", {"step": state.global_step, **{name: float(logs[name]) for name in LOGGED if name in logs}}
        )

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        meet()  # each process has written its part
        if is_main():
            self.checkpoints.remember(state.global_step, own_state(self.task.loss))
            self.checkpoints.seal(state.global_step)
        self.context.emit("checkpoint_saved", {"step": state.global_step})

    def _not_finite(self, numbers: Numbers) -> StageError:
        what = f"training: {numbers.problem} at step {numbers.step} is not a finite number"
        if numbers.problem == "the loss" and world_size() > 1 and abs(numbers.own_loss) < float("inf"):
            return ToldElsewhere(f"{what} in another process, which tells more")
        batch = self.task.told(self._rows(numbers.step))
        path, names = write_bad_batch(self.context.work, numbers, self.trainer.model, batch)
        where = f" of process {rank()}" if world_size() > 1 else ""
        first = f", first {names[0]}" if names else ""
        return StageError(
            f"{what}; lower learning_rate, raise temperature or use precision fp32. Its batch{where}, with the names "
            f"of parameters whose gradient is not finite ({len(names)}{first}), is in {path}"
        )

    def _rows(self, step: int) -> list[int]:
        """The rows of the data set that this process had in a step."""
        sampler: Any = self.trainer.get_train_dataloader().batch_sampler
        epoch, position = divmod(step - 1, len(sampler))
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
        return list(next(islice(iter(sampler), position, None)))
