"""What a training needs to go on, in safe formats: one file beside the model, which is not part of it.

The file holds what the trainer's checkpoint holds. Another stage makes the checkpoint of it again and resumes, just as
after an interruption.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_pt_utils import safe_globals as _untyped

from embedkit.core.errors import ArtifactError, StageError
from embedkit.core.store import sha256
from embedkit.retrieval.adapters import CONFIG as ADAPTER
from embedkit.retrieval.identity import TRAINING_STATE
from embedkit.training.checkpoints import CHECKPOINTS, SEAL, STATE, Checkpoints
from embedkit.training.distributed import from_main, is_main, meet

_FORMAT: Final = 1
_LEFT_OUT: Final = (SEAL, "training_args.bin", "README.md")  # made anew
_PICKLED: Final = (".pt", ".pth", ".bin")  # torch's own, of numbers and tensors alone
_TENSORS: Final = ".safetensors"
_TEXTS: Final = (".json", ".txt", ".model", ".jinja", ".md")

Tensors = dict[str, Tensor]
numbers_of_numpy: Any = _untyped  # lets through what numpy's random state is made of


class Stop(TrainerCallback):
    """Ends a training after a step, with a checkpoint."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step >= self.step:
            control.should_save = control.should_training_stop = True


def keep_state(work: Path, out: Path) -> None:
    """Write a training's last checkpoint into the model's folder `out`; files that the model has too are only named."""
    checkpoints = Checkpoints(work / CHECKPOINTS)
    step = checkpoints.newest()
    if step is None:
        raise RuntimeError("a training in parts ended without a checkpoint")
    folder = checkpoints.folder(step)
    files: dict[str, Any] = {}
    tensors: Tensors = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name in _LEFT_OUT:
            continue
        if (out / name).is_file() and sha256(out / name) == sha256(path):
            files[name] = {"as": "model"}
        else:
            files[name] = _read(path, name, tensors)
    about = {"format": _FORMAT, "step": step, "files": files}
    save_file(tensors, out / TRAINING_STATE, metadata={"state": json.dumps(about, sort_keys=True)})


def steps_in(model: Path) -> int:
    """How many steps the training has in all whose state is beside this model."""
    about, _ = _open(model)
    return int(json.loads(about["files"][STATE]["text"])["max_steps"])


def go_on(model: Path, work: Path) -> None:
    """Let the training in `work` resume from the state beside this model, unless it has gone further already."""
    checkpoints = Checkpoints(work / CHECKPOINTS)
    if from_main(checkpoints.newest) is None:
        if is_main():
            _restore(model, checkpoints)
        meet()


def _restore(model: Path, checkpoints: Checkpoints) -> None:
    """Make the checkpoint again whose state is beside this model."""
    about, tensors = _open(model)
    folder = checkpoints.folder(about["step"])
    draft = folder.with_name("coming")
    shutil.rmtree(draft, ignore_errors=True)
    for name, file in about["files"].items():
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
        if file["as"] == "model":
            shutil.copyfile(model / name, draft / name)
        else:
            _write(draft / name, file, name, tensors)
    draft.rename(folder)
    checkpoints.seal(about["step"])


def _open(model: Path) -> tuple[dict[str, Any], Tensors]:
    path = model / TRAINING_STATE
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file, and the training to be continued left its state there")
    with safe_open(path, framework="pt") as file:
        about = json.loads((file.metadata() or {}).get("state", "{}"))
    if about.get("format") != _FORMAT:
        raise ArtifactError(f"{path}: format {about.get('format')!r}; this embedkit reads format {_FORMAT}")
    return about, load_file(path)


def _read(path: Path, place: str, tensors: Tensors) -> dict[str, Any]:
    """A file as JSON; its tensors are put to the others, under names that begin with `place`."""
    if path.suffix == _TENSORS:
        tensors.update({f"{place}/{name}": tensor for name, tensor in load_file(path).items()})
        return {"as": "tensors"}
    if path.suffix in _PICKLED:
        with numbers_of_numpy():
            found = torch.load(path, map_location="cpu", weights_only=True)
        return {"as": "tree", "tree": _encoded(found, place, tensors)}
    if path.suffix in _TEXTS:
        return {"as": "text", "text": _unplaced(path)}
    raise StageError(f"training in parts: cannot carry {path.name} to the next part, as of a sharded optimizer")


def _write(path: Path, file: Mapping[str, Any], place: str, tensors: Mapping[str, Tensor]) -> None:
    if file["as"] == "tensors":
        named = {name.removeprefix(f"{place}/"): one for name, one in tensors.items() if name.startswith(f"{place}/")}
        save_file(named, path, metadata={"format": "pt"})
    elif file["as"] == "tree":
        torch.save(_decoded(file["tree"], tensors), path)
    else:
        path.write_text(file["text"], encoding="utf-8")


def _unplaced(path: Path) -> str:
    """A file's text; an adapter's does not say where its base model lies on this machine, see `lora.reconnect`."""
    text = path.read_text(encoding="utf-8")
    if path.name != ADAPTER:
        return text
    return json.dumps(json.loads(text) | {"base_model_name_or_path": "."}, indent=2, sort_keys=True)


def _encoded(value: Any, place: str, tensors: Tensors) -> Any:
    """Nested dicts, lists and tuples as JSON, with names of tensors in place of tensors."""
    if isinstance(value, Tensor):
        tensors[place] = value.detach().clone().contiguous()
        return {"tensor": place}
    if isinstance(value, np.ndarray):
        tensors[place] = torch.from_numpy(value.copy())
        return {"array": place}
    if isinstance(value, Mapping):
        inner = enumerate(value.items())
        return {"dict": [[key, _encoded(item, f"{place}/{i}", tensors)] for i, (key, item) in inner]}
    if isinstance(value, list | tuple):
        items = [_encoded(item, f"{place}/{i}", tensors) for i, item in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": items}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise StageError(f"training in parts: cannot carry a {type(value).__name__} to the next part")


def _decoded(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "tensor":
        return tensors[inner]
    if kind == "array":
        array: NDArray[Any] = tensors[inner].numpy()
        return array
    if kind == "dict":
        return {key: _decoded(item, tensors) for key, item in inner}
    items = [_decoded(item, tensors) for item in inner]
    return tuple(items) if kind == "tuple" else items
