"""Where the time of embedkit's training step goes: parts of it timed in a process of its own."""

import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from eval.speed.measuring import synchronize
from eval.speed.training_sets import train
from eval.speed.trainings import Job, apart, at_step_ends, stage_of

EVERY: Final = 250  # steps between checkpoints of a run of 1,000, see `Training.save_steps`
COMPUTE: Final = ("forward", "loss", "backward", "optimizer")


def profile(job: Job) -> dict[str, Any]:
    """Seconds a step of each part, and as a share; a checkpoint counts with one step in `EVERY`."""
    return apart(job, module="eval.speed.training_profile")


class Parts:
    """Seconds spent in functions, by the part of a step that they are. What one calls of another is the other's."""

    def __init__(self, device: str) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._device = device
        self._open: list[float] = []  # seconds of inner parts, for each part that is running

    def watch(self, owner: Any, name: str, part: str) -> None:
        """Time every call of the owner's function from now on."""
        original: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            synchronize(self._device)
            start = time.perf_counter()
            self._open.append(0.0)
            try:
                return original(*args, **kwargs)
            finally:
                synchronize(self._device)
                spent = time.perf_counter() - start
                self.seconds[part] += spent - self._open.pop()
                if self._open:
                    self._open[-1] += spent

        setattr(owner, name, timed)


def run(job: Job) -> dict[str, Any]:
    """Train, and tell the parts of the steps after the first, among which there is one checkpoint."""
    parts = Parts(job.device)
    _watch(parts)
    marks: list[float] = []
    spent: list[dict[str, float]] = []

    def done(step: int) -> None:
        marks.append(time.perf_counter())
        spent.append(dict(parts.seconds))

    at_step_ends(done)
    stage = stage_of(job, checkpoint_every=job.steps // 2)
    with tempfile.TemporaryDirectory() as folder:
        train(stage, Path(job.model), Path(job.pairs), Path(folder))
    each = {part: (seconds - spent[0].get(part, 0.0)) / (job.steps - 1) for part, seconds in spent[-1].items()}
    each["other"] = (marks[-1] - marks[0]) / (job.steps - 1) - sum(each.values())
    return _told(each, checkpoint=(job.steps - 1) * each["checkpoints"])


def _watch(parts: Parts) -> None:
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer

    from embedkit.training.collator import Collator
    from embedkit.training.objective import Objective
    from embedkit.training.stepping import Stepper
    from embedkit.training.tokenising import Later
    from embedkit.training.watching import Watch

    parts.watch(Collator, "__call__", "collation")
    parts.watch(Later, "on", "collation")
    parts.watch(Objective, "forward", "loss")
    parts.watch(SentenceTransformer, "forward", "forward")
    parts.watch(Accelerator, "backward", "backward")
    parts.watch(Stepper, "_clip_grad_norm", "optimizer")
    parts.watch(AcceleratedOptimizer, "step", "optimizer")
    parts.watch(Stepper, "tell", "logging")
    parts.watch(Stepper, "note", "logging")
    parts.watch(SentenceTransformerTrainer, "_maybe_log_save_evaluate", "logging")
    parts.watch(SentenceTransformerTrainer, "_save_checkpoint", "checkpoints")
    parts.watch(Watch, "on_save", "checkpoints")


def _told(each: dict[str, float], *, checkpoint: float) -> dict[str, Any]:
    """Seconds a step and shares, with checkpoints as many as a long run makes."""
    each["checkpoints"] = checkpoint / EVERY
    total = sum(each.values())
    return {
        "seconds_per_step": each,
        "share": {part: value / total for part, value in each.items()},
        "share_of_what_is_not_model_compute": 1 - sum(each[part] for part in COMPUTE) / total,
        "seconds_per_checkpoint": checkpoint,
    }


def main() -> None:
    """Run the job that the command line holds as JSON, and print what there is to tell as JSON."""
    found = run(Job(**json.loads(sys.argv[1])))
    sys.stdout.write(f"\n{json.dumps(found)}\n")


if __name__ == "__main__":
    main()
