"""A sentence-transformers model folder, changed without loading the model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator

from embedkit.core.errors import ModelError
from embedkit.core.spec import Spec
from embedkit.retrieval.model_folder import module_configs, positions, read_json, transformer_config

MODULE_TYPES: Final = "sentence_transformers.models."  # where every version of the library finds its modules

Pooling = Literal["mean", "cls", "lasttoken"]


class Prompts(Spec):
    """What is put before every query and every document; the model remembers it. None keeps what the model has.

    `named` are further prompts, such as instructions for one kind of queries: training, mining and tasks choose them
    by name. One named as mteb names tasks or their types is what `mteb` puts before their texts.
    """

    query: str | None = None
    document: str | None = None
    named: Mapping[Annotated[str, Field(min_length=1)], str] = Field(default_factory=dict)

    @field_validator("named")
    @classmethod
    def _not_the_others(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        if taken := sorted({"query", "document"} & set(value)):
            raise ValueError(f"{taken[0]} is a prompt of its own: set prompts.{taken[0]}, beside `named`")
        return value

    def texts(self) -> dict[str, str]:
        """Those that are given, by name."""
        given = {"query": self.query, "document": self.document, **self.named}
        return {name: text for name, text in given.items() if text is not None}


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
    paths = module_configs(model)
    if not paths:
        raise ModelError(f"max_length is {max_length}, but the model reads all of a text; leave it out")
    for path in paths:
        settings = read_json(path) if path.is_file() else {}
        settings["max_seq_length"] = max_length
        for name in ("processor_kwargs", "tokenizer_args"):  # these would win over it
            settings.get(name, {}).pop("model_max_length", None)
        write_json(path, settings)


def set_prompts(model: Path, prompts: Prompts) -> list[str]:
    """Make `prompts` those that the model remembers; a line for each that takes the place of another of its own."""
    path = model / "config_sentence_transformers.json"
    settings = read_json(path) if path.is_file() else {}
    own = settings.get("prompts") or {}
    write_json(path, {**settings, "prompts": {**own, **prompts.texts()}})
    return [
        f"prompts.{name}: {text!r} takes the place of {own[name]!r}, which the model was made with"
        for name, text in prompts.texts().items()
        if own.get(name) and own[name] != text
    ]


def write_json(path: Path, value: object) -> None:
    """Write a JSON file of a model folder."""
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
