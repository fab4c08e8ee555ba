"""A sentence-transformers model folder, read without loading the model."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from embedkit.core.errors import ModelError
from embedkit.retrieval.routes import Part, pipeline

_SAFE: Final = (".safetensors", ".json", ".txt", ".model")  # weights, configs, vocabularies, SentencePiece
_OTHER_BACKENDS: Final = ("onnx", "openvino")
_TABLES: Final = re.compile(r"embed|(^|\.)(wte|wpe)\.|^shared\.")
_STATIC: Final = ("embedding.weight", "embeddings")  # the one table of a static embedding, and of model2vec's
_CONFIGS: Final = "sentence_*_config.json"  # of the first module; the name once depended on the architecture
_POSITIONS_AFTER_PADDING: Final = ("mpnet", "camembert", "longformer")  # like every kind of RoBERTa


def safe_files(folder: Path) -> list[Path]:
    """Files of a model folder that are data, not code: no pickles, no Python, no other backends' weights."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and _is_safe(p.relative_to(folder)))


def _is_safe(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return path.suffix in _SAFE and not hidden and path.parts[0] not in _OTHER_BACKENDS


@dataclass(frozen=True)
class Card:
    """What a model folder says of itself."""

    parameters: int
    embedding_parameters: int  # in lookup tables, which cost no multiplications
    dimensions: int
    max_tokens: int
    prompts: Mapping[str, str]


def describe(model: Path) -> Card:
    """Read a sentence-transformers folder's figures without loading it."""
    parameters = tables = 0
    for name, shape in _tensors(model):
        parameters += math.prod(shape)
        tables += math.prod(shape) if len(shape) == 2 and _TABLES.search(name) else 0
    settings = model / "config_sentence_transformers.json"
    prompts = read_json(settings).get("prompts") or {} if settings.is_file() else {}
    return Card(parameters, tables, _dimensions(model), _max_tokens(model), prompts)


def told(card: Card) -> dict[str, Any]:
    """What the report shows of a model that was assembled or copied."""
    size = f"{card.parameters / 1e6:.1f} M parameters ({card.embedding_parameters / 1e6:.1f} M in embedding tables)"
    limit = f"{card.max_tokens} tokens" if card.max_tokens else "no limit of length"
    prompts = [f"{name} prompt {text!r}" for name, text in sorted(card.prompts.items()) if text]
    return {
        "summary": [", ".join([size, f"{card.dimensions} dimensions, {limit}", *prompts])],
        "counts": {"parameters": card.parameters, "embedding_parameters": card.embedding_parameters},
        "warnings": [],
        "dimensions": card.dimensions,
        "max_length": card.max_tokens,
        "prompts": dict(card.prompts),
    }


def _tensors(model: Path) -> Iterator[tuple[str, list[int]]]:
    """Name and shape of every tensor; the files' headers are read, not their data."""
    from safetensors import SafetensorError, safe_open

    for path in sorted(p for p in model.rglob("*.safetensors") if _is_safe(p.relative_to(model))):
        try:
            with safe_open(path, framework="numpy") as file:
                for name in file.keys():  # noqa: SIM118 - not a mapping
                    yield name, file.get_slice(name).get_shape()
        except SafetensorError as error:
            raise ModelError(f"{path}: not a whole safetensors file ({error})") from None


def _dimensions(model: Path) -> int:
    """Of the last module that says."""
    size = int(transformer_config(model).get("hidden_size") or 0)
    if not size:
        size = next((shape[1] for name, shape in _tensors(_first_module(model)) if name in _STATIC), 0)
    for module in _modules(model)[1:]:
        path = model / module.path / "config.json"
        if not path.is_file():
            continue
        config = read_json(path)
        if width := config.get("embedding_dimension") or config.get("word_embedding_dimension"):
            modes = config.get("pooling_mode") or [k for k, v in config.items() if k.startswith("pooling_mode_") and v]
            size = int(width) * (len(modes) if isinstance(modes, list) and modes else 1)
        size = int(config.get("out_features") or size)
    return size


def _max_tokens(model: Path) -> int:
    """The limit sentence-transformers will use: its own setting, else the tokenizer's, within the positions."""
    path, tokenizer = module_config(model), _first_module(model) / "tokenizer_config.json"
    own = read_json(path).get("max_seq_length") if path.is_file() else None
    limit = own or (read_json(tokenizer).get("model_max_length") if tokenizer.is_file() else None)
    limits = [limit, positions(model)]
    known = [int(n) for n in limits if isinstance(n, int | float) and 0 < n < 10**9]
    return min(known, default=0)


def positions(model: Path) -> int:
    """The longest input there are position embeddings for; 0 if the config does not say."""
    config = transformer_config(model)
    kind, size = str(config.get("model_type")), config.get("max_position_embeddings")
    if not isinstance(size, int):
        return 0
    return size - 2 if "roberta" in kind or kind in _POSITIONS_AFTER_PADDING else size


def module_config(model: Path) -> Path:
    """Where the first module keeps its settings, `max_seq_length` among them."""
    return _config_in(_first_module(model))


def module_configs(model: Path) -> list[Path]:
    """The same of all its transformers: towers have one each, static embeddings none."""
    first = {parts[0] for task in ("query", "document") if (parts := pipeline(model, task))}
    folders = sorted(model / part.path for part in first if part.type.endswith(".Transformer"))
    return [_config_in(folder) for folder in folders or ([] if first else [model])]


def _config_in(folder: Path) -> Path:
    return next(iter(sorted(folder.glob(_CONFIGS))), folder / "sentence_bert_config.json")


def transformer_config(model: Path) -> dict[str, Any]:
    """transformers' config.json of the first module; empty if it has none."""
    path = _first_module(model) / "config.json"
    return dict(read_json(path)) if path.is_file() else {}


def _first_module(model: Path) -> Path:
    modules = _modules(model)
    return model / modules[0].path if modules else model


def _modules(model: Path) -> list[Part]:
    """What a document passes; nothing for a plain transformers folder."""
    return pipeline(model, "document")


def read_json(path: Path) -> Any:
    """A JSON file of a model folder."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({error})") from None
