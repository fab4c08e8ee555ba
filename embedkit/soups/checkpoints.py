"""Model folders side by side: read tensor by tensor, checked to agree, merged into a folder of their own.

A sentence-transformers folder keeps weights in safetensors files, below the folders of its modules. Tensors are
named `<module folder>/<name>`, whatever file of the folder holds them, so members may be cut into files differently.
Merging holds one tensor of each model in memory.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from embedkit.core.errors import ModelError, first_few
from embedkit.core.spec import digest
from embedkit.retrieval.adapters import adapter_of
from embedkit.retrieval.identity import TRAINING_STATE
from embedkit.retrieval.loading import load_model

SUFFIX = ".safetensors"
# Not copied: what describes one member alone, and its weights in other formats, which would differ from the merged.
_OWN_FILES = frozenset({"README.md", "manifest.json", "stats.json", ".gitattributes", TRAINING_STATE})
_OTHER_WEIGHTS = frozenset({".bin", ".pt", ".pth", ".onnx", ".xml", ".h5", ".msgpack", ".ot", ".pkl", ".gguf"})
_INTEGERS = frozenset({"I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "BOOL"})
_PROVENANCE = frozenset({"architectures", "transformers_version", "torch_dtype", "dtype"})

MergeTensors = Callable[[str, Sequence[Tensor], Tensor | None], Tensor]  # name, members', base's -> merged


@dataclass(frozen=True)
class Entry:
    """Where a tensor is, and its shape and type."""

    file: str  # path below the model folder
    name: str  # in the file
    dtype: str  # as safetensors writes it: F32, BF16, I64 ...
    shape: tuple[int, ...]
    start: int  # first byte, counted from the end of the header

    @property
    def is_buffer(self) -> bool:
        """Whether it holds integers, e.g. position ids, which are not learned."""
        return self.dtype in _INTEGERS


@dataclass(frozen=True)
class Checkpoint:
    """The weights of one model folder."""

    folder: Path
    label: str  # what messages call it
    tensors: Mapping[str, Entry]

    @classmethod
    def open(cls, folder: Path, label: str) -> "Checkpoint":
        """Read the headers of all weight files. Raises `ModelError` if there are none or one is damaged, and for an
        adapter beside the weights: a mean of the factors of its products is not the mean of the products."""
        if adapter_of(folder) is not None:
            raise ModelError(f"{label}: {folder} has an adapter beside its weights; train it with `lora.merge: true`")
        tensors: dict[str, Entry] = {}
        for path in sorted(folder.rglob(f"*{SUFFIX}")):
            file = path.relative_to(folder).as_posix()
            for name, about in _header(path)[1].items():
                where = str(PurePosixPath(file).parent / name)
                tensors[where] = Entry(file, name, about["dtype"], tuple(about["shape"]), about["data_offsets"][0])
        if not tensors:
            raise ModelError(f"{label}: {folder} has no {SUFFIX} file; only models saved as safetensors can be merged")
        return cls(folder, label, MappingProxyType(tensors))

    def read(self, name: str) -> Tensor:
        """One tensor, on the CPU."""
        entry = self.tensors[name]
        with safe_open(self.folder / entry.file, framework="pt") as file:
            tensor: Tensor = file.get_tensor(entry.name)
        return tensor

    @property
    def parameters(self) -> int:
        """How many learned numbers the model has."""
        return sum(int(torch.Size(e.shape).numel()) for e in self.tensors.values() if not e.is_buffer)


def check_agreement(members: Sequence[Checkpoint], base: Checkpoint | None = None) -> None:
    """Raise a `ModelError` that lists what differs unless all can be merged.

    Learned tensors must agree in name, shape and type, integer buffers that both models have in value; module
    settings, tokenizers and prompts of the members must be the same. A base needs the same tensors only.
    """
    first, *others = members
    problems = [line for other in others for line in _tensor_differences(first, other, strict=True)]
    if base is not None:
        problems += _tensor_differences(first, base, strict=False)
    if not problems:  # a model with wrong tensors cannot be loaded to ask for its settings
        expected = _settings(first)
        problems = [line for other in others for line in _setting_differences(first, expected, other)]
    if problems:
        raise ModelError(*first_few(problems))


def write_merged(
    members: Sequence[Checkpoint],
    base: Checkpoint | None,
    out: Path,
    merge: MergeTensors,
    advance: Callable[[int], None] = lambda _: None,
) -> None:
    """Write the merged model folder. Buffers and all files that are not weights are those of the first member."""
    first = members[0]
    for path in sorted(first.folder.rglob("*")):
        file = path.relative_to(first.folder)
        if path.is_file() and path.suffix not in _OTHER_WEIGHTS | {SUFFIX} and str(file) not in _OWN_FILES:
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, out / file)
    for file_name in sorted({entry.file for entry in first.tensors.values()}):
        (out / file_name).parent.mkdir(parents=True, exist_ok=True)
        # The merged file has the tensors of the first member's, so its header and layout are that file's.
        with (out / file_name).open("wb") as target:
            target.write(_header(first.folder / file_name)[0])
            for name in _in_file(first, file_name):
                target.write(_bytes(_merged(name, members, base, merge)))
                advance(1)


def _merged(name: str, members: Sequence[Checkpoint], base: Checkpoint | None, merge: MergeTensors) -> Tensor:
    if members[0].tensors[name].is_buffer:
        return members[0].read(name)
    merged = merge(name, [member.read(name) for member in members], None if base is None else base.read(name))
    if not torch.isfinite(merged).all():
        labels = ", ".join(member.label for member in members)
        raise ModelError(f"merging {labels}: {name} is not finite in the result; a member's weights may be damaged")
    return merged


def _in_file(checkpoint: Checkpoint, file: str) -> list[str]:
    """Names of the tensors of one file in the order of their bytes."""
    names = [name for name, entry in checkpoint.tensors.items() if entry.file == file]
    return sorted(names, key=lambda name: (checkpoint.tensors[name].start, name))


def _header(path: Path) -> tuple[bytes, dict[str, Any]]:
    """The leading bytes of a safetensors file, and its entries by name."""
    try:
        with safe_open(path, framework="pt"):
            pass  # checks that header and data fit together
        with path.open("rb") as file:
            length = file.read(8)
            text = file.read(int.from_bytes(length, "little"))
        entries: dict[str, Any] = json.loads(text)
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"{path}: not a readable safetensors file ({error}); save the model again") from None
    entries.pop("__metadata__", None)
    return length + text, entries


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _tensor_differences(first: Checkpoint, other: Checkpoint, *, strict: bool) -> Iterator[str]:
    for name, entry in first.tensors.items():
        found = other.tensors.get(name)
        if found is None:
            if not entry.is_buffer:
                yield _differs(first, other, name, f"{entry.dtype} {list(entry.shape)}", "none")
        elif entry.shape != found.shape or (entry.dtype != found.dtype and strict):
            has = f"{found.dtype} {list(found.shape)}"
            yield _differs(first, other, name, f"{entry.dtype} {list(entry.shape)}", has)
        elif entry.is_buffer and not torch.equal(first.read(name), other.read(name)):
            yield f"{first.label} and {other.label}: the integer buffer {name} differs; such buffers cannot be merged"
    if strict:
        for name in sorted(other.tensors.keys() - first.tensors.keys()):
            if not other.tensors[name].is_buffer:
                yield _differs(first, other, name, "none", f"{other.tensors[name].dtype}")


def _setting_differences(first: Checkpoint, expected: Mapping[str, Any], other: Checkpoint) -> Iterator[str]:
    found = _settings(other)
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            yield _differs(first, other, name, _short(expected.get(name)), _short(found.get(name)))


def _settings(checkpoint: Checkpoint) -> dict[str, Any]:
    """Everything besides weights that decides what the model computes, as the loaded model states it.

    The loaded model is asked, not its files: different versions of the libraries write the same settings differently.
    """
    from sentence_transformers.base.modules import Module, Transformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from transformers import PreTrainedModel

    model = load_model(checkpoint.folder, device="cpu")
    readers = [module for module in model.modules() if isinstance(module, Transformer | StaticEmbedding)]
    tokenizers: list[Any] = [module.tokenizer for module in readers]  # towers have one each
    special = [getattr(tokenizer, "special_tokens_map", {}) for tokenizer in tokenizers]
    found: dict[str, Any] = {
        "modules": [type(module).__name__ for module in model],
        "max_seq_length": model.max_seq_length,
        "similarity": model.similarity_fn_name,
        "prompts": dict(model.prompts),
        "default prompt": model.default_prompt_name,
        "tokenizer vocabulary": digest([tokenizer.get_vocab() for tokenizer in tokenizers]),
        "special tokens": digest([{name: str(token) for name, token in tokens.items()} for tokens in special]),
    }
    for place, module in model.named_modules():
        if isinstance(module, Module):
            for key, value in module.get_config_dict().items():
                found[f"{place} {type(module).__name__}.{key}"] = value
        if isinstance(module, PreTrainedModel):
            config = module.config.to_dict().items()
            found |= {f"config.{k}": v for k, v in config if k not in _PROVENANCE and not k.startswith("_")}
    return found


def _differs(first: Checkpoint, other: Checkpoint, what: str, in_first: str, in_other: str) -> str:
    return f"{first.label} and {other.label} cannot be merged: {what} is {in_first} in one and {in_other} in the other"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
