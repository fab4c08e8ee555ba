"""Whole trainings in two processes, for the test that they equal one. Started twice, with what torchrun would say in
the environment, or imported for what one process does."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any
from unittest.mock import patch

import torch

from embedkit.losses import InfoNCE, Loss
from embedkit.training.batching import NGAMEBatches
from embedkit.training.early_stopping import Evaluation
from embedkit.training.peers.graded import EmbedDistillLoss
from embedkit.training.plain import TrainST
from embedkit.training.sources import Source
from embedkit.training.stage import Train
from embedkit.training.stepping import Stepper
from tests.training.members import MEMBERS, every_loss
from tests.training.runs import TRAIN, run

BATCH = 7  # which two processes cannot divide into equal parts
CUT = 2  # checkpoints, after which a training is cut off

LOSSES = {
    name: loss
    for name, loss in every_loss().items()
    if isinstance(loss, MEMBERS) and type(getattr(loss, "loss", None)) in (type(None), InfoNCE)
}
"""All a recipe can name, and each wrapper around one; tests of the objective have the others."""


def every() -> Train:
    """One step with each loss there is."""
    first, *others = LOSSES.values()
    return Train(
        model="model",
        pairs="pairs",
        guide="guide",
        seed=3,
        steps=len(LOSSES),
        batch_size=BATCH,
        learning_rate=1e-4,
        schedule="cosine",
        warmup=0.2,
        positives=None,
        negatives=2,
        chunk_size=3,
        loss=first,
        sources=tuple(_source(loss) for loss in others),
    )


def _source(loss: Loss) -> Source:
    return Source(pairs="pairs", loss=loss, negatives=2)


INTERRUPTED = TRAIN.model_copy(update={"batch_size": BATCH, "steps": 9, "learning_rate": 1e-4})
PLAIN = TrainST(model="model", pairs="pairs", seed=3, steps=6, batch_size=8, learning_rate=1e-3)
CLUSTERED = INTERRUPTED.model_copy(update={"batches": NGAMEBatches(every=3, doubled_at=(0.2, 0.5))})
EVALUATED = INTERRUPTED.model_copy(update={"evaluate": Evaluation(data="data", every=3)})


SHARDED = INTERRUPTED.model_copy(update={"sharding": "full", "chunk_size": 3})
HALF = SHARDED.model_copy(update={"precision": "bf16"})
HEADED = PLAIN.model_copy(update={"loss": EmbedDistillLoss(teacher="guide", projection_dim=32), "steps": 2})


@contextmanager
def shards_on_a_cpu() -> Iterator[None]:
    """accelerate makes shards for accelerators alone, though torch can on a CPU; so it is told of GPUs."""
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    found = ("gloo", DistributedType.MULTI_GPU)
    with (
        patch.object(PartialState, "_prepare_backend", lambda *_, **__: found),
        patch.dict(os.environ, ACCELERATE_TORCH_DEVICE="cpu"),
    ):
        yield


@contextmanager
def heads_kept(path: Path) -> Iterator[None]:
    """Write, after every step, the gradients of the loss's own weights."""
    whole = Stepper.training_step

    def step(self: Stepper, *arguments: Any) -> Any:
        found = whole(self, *arguments)
        own = {name: p.grad for name, p in self.loss.named_parameters() if "model" not in name.split(".")}
        torch.save({name: grad for name, grad in own.items() if grad is not None}, path)
        return found

    with patch.object(Stepper, "training_step", step):
        yield


class PowerCut(BaseException):
    """Ends a training at once."""


def cut() -> Callable[[str, Mapping[str, Any]], None]:
    """An `emit` that ends a training after some checkpoints."""
    seen = 0

    def emit(name: str, facts: Mapping[str, Any]) -> None:
        nonlocal seen
        seen += name == "checkpoint_saved"
        if seen == CUT:
            raise PowerCut

    return emit


def main(folder: Path) -> None:
    """Below `folder` are the models, the pairs, and `halfway`, a training that was cut off in one process."""
    from embedkit.processes import join

    model, pairs, guide = folder / "model", folder / "pairs", folder / "guide"
    with join() as team:
        place = folder / f"process {team.rank}"
        with team.training("every"):
            run(every(), model, pairs, place / "every", guide=guide)
        with team.training("plain"):
            run(PLAIN, model, pairs, place / "plain")
        with team.training("evaluated"):
            together(EVALUATED, model, pairs, place / "evaluated", folder / "scored", data=folder / "data" / "out")
        with team.training("gone on"):
            together(INTERRUPTED, model, pairs, place / "gone on", folder / "halfway")
        with shards_on_a_cpu():
            for name in ("sharded", "sharded again"):
                with team.training(name):
                    together(SHARDED, model, pairs, place / name, folder / "shards")
                if team.is_main:
                    rmtree(folder / "shards" / "checkpoints" / "checkpoint-9")
                team.meet(name)
            with team.training("half"):
                together(HALF, model, pairs, place / "half", folder / "half of shards")
        with team.training("headed"), heads_kept(place / "heads"):
            run(HEADED, model, pairs, place / "headed", guide=guide)
        for name in ("clustered", "over"):  # the second finds the last checkpoint of the first
            with team.training(name):
                together(CLUSTERED, model, pairs, place / name, folder / "clusters")
        try:
            with team.training("cut"):
                together(INTERRUPTED, model, pairs, place / "cut", folder / "cut", cut())
        except PowerCut:
            team.meet("cut")
    os._exit(0)  # the last group is still open


def together(
    stage: Train,
    model: Path,
    pairs: Path,
    own: Path,
    shared: Path,
    emit: Callable[[str, Mapping[str, Any]], None] | None = None,
    **others: Path,
) -> None:
    """Run a stage whose work folder is shared and whose artifact is this process's own."""
    shared.mkdir(exist_ok=True)
    own.mkdir(parents=True)
    (own / "work").symlink_to(shared, target_is_directory=True)
    run(stage, model, pairs, own, emit, **others)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
