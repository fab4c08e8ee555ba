"""Weights, gradients and the optimiser's state in shards, one in each process (FSDP2), for models that need it."""

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import torch
from accelerate.utils import DistributedType
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from torch import nn

from embedkit.core.errors import StageError
from embedkit.training.distributed import is_main, world_size
from embedkit.training.lora import transformers_of

Sharding = Literal["none", "full", "grad_op"]
_OPTIMISER: Final = "optimizer_0"  # the folder of a checkpoint that has its state in shards


def sharding_arguments(sharding: Sharding, model: SentenceTransformer) -> dict[str, Any]:
    """Arguments of the trainer. Each layer is a unit of its own, gathered when it computes; with `grad_op` weights stay
    gathered from the forward to the backward pass."""
    if sharding == "none" or world_size() == 1:
        return {}
    layers = sorted({name for module in model.modules() for name in getattr(module, "_no_split_modules", None) or ()})
    config = {
        "version": 2,
        "reshard_after_forward": sharding == "full",
        "state_dict_type": "SHARDED_STATE_DICT",
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP" if layers else "NO_WRAP",
        **({"transformer_layer_cls_to_wrap": layers} if layers else {}),
    }
    return {"fsdp": True, "fsdp_config": config}


def is_sharded(sharding: Sharding) -> bool:
    """Whether a training with this field has shards; `accelerate launch --use_fsdp` may ask for them as well."""
    asked = sharding != "none" or os.environ.get("ACCELERATE_USE_FSDP", "false").lower() in ("1", "true")
    return asked and world_size() > 1


def check_checkpoint(folder: Path, *, sharded: bool) -> None:
    """A `StageError` where a checkpoint cannot be gone on from, because only it or only this training has shards."""
    if (folder / _OPTIMISER).is_dir() != sharded:
        which = "is in shards" if not sharded else "is not in shards"
        raise StageError(
            f"training: {folder} {which}; go on with the same field sharding, or delete {folder.parent} to start anew"
        )


@contextmanager
def whole_again(model: SentenceTransformer, trainer: SentenceTransformerTrainer) -> Iterator[None]:
    """The trainer may cut the model into shards; afterwards the main process has it as it was, with trained weights."""
    plugin = getattr(trainer.accelerator.state, "fsdp_plugin", None)
    if plugin is None:
        yield
        return
    if trainer.accelerator.distributed_type != DistributedType.FSDP:
        raise StageError("training: sharding needs GPUs; leave the field out where there are none")
    if plugin.fsdp_version != 2:
        raise StageError("training: sharding is by FSDP2; set fsdp_version: 2 in accelerate's configuration")
    plugin.set_state_dict_type("SHARDED_STATE_DICT")  # the trainer would save a model folder of shards otherwise
    before = _copied(model) if is_main() else None
    plugin.mixed_precision_policy = None  # it would round norms, poolings and gradients too
    if trainer.args.bf16:
        as_without_shards = torch.autocast(model.device.type, torch.bfloat16)
        model.__dict__["forward"] = as_without_shards(model.forward)
    model.__dict__["base_model_prefix"] = "none"  # else accelerate takes the module Normalize for a layer with weights
    for transformer in transformers_of(model):
        if isinstance(pooler := getattr(transformer, "pooler", None), nn.Module):
            pooler.requires_grad_(False)  # nobody reads it; torch does not load an optimiser that lacks its state
    yield
    weights = trainer.accelerator.get_state_dict(trainer.model)
    if before is not None:
        before.load_state_dict(weights)
        model.__class__, model.__dict__ = type(before), before.__dict__


def _copied(model: SentenceTransformer) -> SentenceTransformer:
    """The same on the CPU; no device holds it twice meanwhile."""
    device = model.device
    found = copy.deepcopy(model.cpu())
    model.to(device)
    return found
