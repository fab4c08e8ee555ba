"""A sentence-transformers model folder, changed without loading the model."""

import json
from pathlib import Path
from typing import Final, Literal

from embedkit.core.errors import ModelError
from embedkit.core.spec import Spec
from embedkit.retrieval.model_folder import module_config, positions, read_json, transformer_config

MODULE_TYPES: Final = "sentence_transformers.models."  # where every version of the library finds its modules

Pooling = Literal["mean", "cls", "lasttoken"]


class Prompts(Spec):
    """What is put before every query and every document; the model remembers it. None keeps what the model has."""

    query: str | None = None
    document: str | None = None


def add_pooling(out: Path, pooling: Pooling) -> None:
    """Write the modules Transformer, Pooling and Normalize around a plain transformers model."""
    kinds = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"{MODULE_TYPES}{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    hidden = transformer_config(out).get("hidden_size")
    if not isinstance(hidden, int):
        raise ModelError(f"{out.name}/config.json: has no hidden_size; expected a transformers encoder or decoder")
    (out / "1_Pooling").mkdir()
    write_json(out / "modules.json", modules)
    write_json(out / "1_Pooling" / "config.json", {"embedding_dimension": hidden, "pooling_mode": pooling})


def set_max_length(model: Path, max_length: int) -> None:
    """Make `max_length` tokens the limit that the model remembers."""
    if max_length > (limit := positions(model) or max_length):
        raise ModelError(f"max_length is {max_length}; the model has positions for {limit} tokens")
    path = module_config(model)
    settings = read_json(path) if path.is_file() else {}
    settings["max_seq_length"] = max_length
    for name in ("processor_kwargs", "tokenizer_args"):  # these would win over it
        settings.get(name, {}).pop("model_max_length", None)
    write_json(path, settings)


def set_prompts(model: Path, prompts: Prompts) -> None:
    """Make `prompts` those that the model remembers."""
    path = model / "config_sentence_transformers.json"
    settings = read_json(path) if path.is_file() else {}
    given = {name: text for name, text in prompts.model_dump().items() if text is not None}
    write_json(path, {**settings, "prompts": {**(settings.get("prompts") or {}), **given}})


def write_json(path: Path, value: object) -> None:
    """Write a JSON file of a model folder."""
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
