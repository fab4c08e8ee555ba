"""The weights of the best score so far, in a file that checkpoints share."""

import os
import shutil
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

BEST: Final = "best.safetensors"


def save_learned(model: nn.Module, path: Path) -> None:
    """Write what training changes of a model into a new file: to the one before, checkpoints have links."""
    draft = path.with_suffix(".tmp")
    save_file({name: tensor.contiguous() for name, tensor in _learned(model).items()}, draft)
    draft.replace(path)


@torch.no_grad()
def load_learned(model: SentenceTransformer, path: Path) -> None:
    """Put back what `save_learned` wrote."""
    own = _learned(model)
    for name, values in load_file(path).items():
        own[name].copy_(values)


def link(source: Path, target: Path) -> None:
    """The same file under another name, if there is one; a copy where the file system has no links."""
    if not source.is_file():
        return
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _learned(model: nn.Module) -> dict[str, Tensor]:
    """Parameters that are not frozen, and the buffers that are saved with them."""
    kept = model.state_dict()
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}
    return parameters | {name: buffer for name, buffer in model.named_buffers() if name in kept}
