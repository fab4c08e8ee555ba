"""What is done to a model before it is trained, and undone after: frozen parts, averaged weights, adapters."""

from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from embedkit.core.errors import ModelError
from embedkit.retrieval.adapters import unload
from embedkit.training.averaging import NAME, Averager
from embedkit.training.best_weights import load_learned
from embedkit.training.checkpoints import Checkpoints
from embedkit.training.lora import adapted, reread, transformers_of
from embedkit.training.options import Training
from embedkit.training.rates import freeze


class Averaging(TrainerCallback):
    """Adds the weights after each step to their average."""

    def __init__(self, averager: Averager, model: nn.Module) -> None:
        self.averager = averager
        self.model = model

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.averager.update(self.model, step=state.global_step, steps=state.max_steps)


class Rereading(TrainerCallback):
    """After the trainer has loaded a checkpoint, gets right what it does not: see `lora.reread`."""

    def __init__(self, model: SentenceTransformer, checkpoints: Checkpoints) -> None:
        self.model = model
        self.checkpoints = checkpoints

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step:
            reread(self.model, self.checkpoints.folder(state.global_step))


def prepare(spec: Training, model: SentenceTransformer, loss: nn.Module) -> None:
    """Make of an opened model what `spec` trains, in place; `finish` undoes it."""
    freeze(model, spec.freeze)
    for parameter in model.parameters():
        learns = parameter.requires_grad or spec.frozen_weights == "fp32"
        parameter.data = parameter.data.to(torch.float32 if learns else torch.bfloat16)
    if spec.gradient_checkpointing:
        _checkpoint_layers(model)
    if spec.average is not None:
        loss.add_module(NAME, Averager(model, spec.average))


def learned(model: nn.Module) -> dict[str, Any]:
    """What the report shows of a prepared model in which not everything learns."""
    whole, some = (sum(p.numel() for p in model.parameters() if p.requires_grad >= which) for which in (False, True))
    if some == whole:
        return {}
    return {"summary": [f"{some:,} of {whole:,} parameters learned ({some / whole:.2%})"], "parameters": some}


def callbacks(model: SentenceTransformer, loss: nn.Module, checkpoints: Checkpoints) -> list[TrainerCallback]:
    """What the trainer calls for a prepared model."""
    averager = getattr(loss, NAME, None)
    averaging = [Averaging(averager, model)] if isinstance(averager, Averager) else []
    return [Rereading(model, checkpoints), *averaging]


def finish(spec: Training, model: SentenceTransformer, loss: nn.Module, *, best: Path | None = None) -> None:
    """The trained model as it is to be used: its averaged weights, in float32, its adapter merged if it is to be.

    `best` has weights to take in place of the last ones, see `evaluating`; they are averaged ones already."""
    averager = getattr(loss, NAME, None)
    if best is not None:
        load_learned(model, best)
    elif isinstance(averager, Averager):
        averager.put_into(model)
    model.float()
    transformer = adapted(model)
    if transformer is not None and spec.lora is not None and spec.lora.merge:
        unload(transformer, merge=True)


def _checkpoint_layers(model: SentenceTransformer) -> None:
    for transformer in transformers_of(model):
        enable: Any = getattr(transformer, "activation_checkpointing_enable", None)  # its name since transformers 5.15
        try:
            (enable or transformer.gradient_checkpointing_enable)({"use_reentrant": False})
        except ValueError:
            kind = transformer.config.model_type
            raise ModelError(f"gradient_checkpointing: a {kind} has none; leave it out, or set chunk_size") from None
