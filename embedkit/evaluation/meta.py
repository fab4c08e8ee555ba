"""What mteb's leaderboard wants to know of a model, as mteb's `ModelMeta`.

Imports mteb; call it within `contained`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import mteb
from mteb.languages.iso_mappings import _hf_langs_to_iso_lang_scripts  # mteb has no public way from "en" to "eng-Latn"
from mteb.models import ModelMeta
from pydantic import ValidationError

from embedkit.core.errors import RecipeError
from embedkit.evaluation.origin import About
from embedkit.retrieval.identity import read_config
from embedkit.retrieval.model_folder import describe

IDENTIFYING: Final = ("n_parameters", "embed_dim", "similarity_fn_name")  # they do not differ between equal models


def model_meta(folder: Path, about: About, *, name: str, revision: str) -> ModelMeta:
    """The description of the model in `folder`; nothing is loaded but headers and settings.

    Raises `RecipeError` if mteb does not know the licence or a language, or `ModelError` for a damaged folder.
    """
    card, config = describe(folder), read_config(folder)
    known: dict[str, Any] = {
        "n_parameters": card.parameters or None,
        "n_embedding_parameters": card.embedding_parameters or None,
        "max_tokens": card.max_tokens or None,
        "embed_dim": config.truncate_dim or card.dimensions or None,
        "similarity_fn_name": config.similarity,
        "use_instructions": any(card.prompts.values()),
    }
    told = {
        "release_date": about.release_date,
        "languages": _languages(about.languages),
        "license": about.license,
        "open_weights": about.open_weights,
        "public_training_code": about.training_code,
        "public_training_data": about.training_data,
        "reference": about.reference,
        "training_datasets": None if about.trained_on is None else training_tasks(about.trained_on),
        "adapted_from": about.base_model,
        "citation": about.citation,
        "contacts": None if about.contacts is None else list(about.contacts),
    }
    framework = ["Sentence Transformers", "PyTorch", *(["safetensors"] if any(folder.rglob("*.safetensors")) else [])]
    fixed = {"loader": None, "name": name, "revision": revision, "framework": framework, "memory_usage_mb": None}
    try:
        meta = ModelMeta.model_validate({**fixed, **known, **told})
    except ValidationError as error:
        first = error.errors()[0]
        where, found = ".".join(str(part) for part in first["loc"][:1]), first["input"]
        raise RecipeError(f"model meta: {where} is {found!r}, which mteb refuses: {first['msg']}") from None
    return meta.model_copy(update={"memory_usage_mb": meta.calculate_memory_usage_mb()})


def meta_json(meta: ModelMeta) -> dict[str, Any]:
    """`model_meta.json` as mteb writes it, in the same order every time."""
    raw: dict[str, Any] = meta.to_dict()
    return {
        **raw,
        "training_datasets": sorted(raw["training_datasets"]) if raw["training_datasets"] else raw["training_datasets"],
    }


def training_tasks(names: Sequence[str]) -> set[str]:
    """mteb's tasks with these names or made from these data sets of the hub; names of neither stay as they are."""
    by_path: dict[str, set[str]] = {}
    for task in mteb.get_tasks(exclude_superseded=False) if any("/" in name for name in names) else ():
        by_path.setdefault(str(task.metadata.dataset["path"]).lower(), set()).add(task.metadata.name)
    return {found for name in names for found in by_path.get(name.lower(), {name})}


def _languages(names: Sequence[str] | None) -> list[str] | None:
    if names is None:
        return None
    found = {name: [name] if "-" in name else _hf_langs_to_iso_lang_scripts(name) for name in names}
    if unknown := [name for name, codes in found.items() if not codes]:
        raise RecipeError(f"model meta: language {unknown[0]!r} is unknown; expected e.g. 'en' or 'eng-Latn'")
    return sorted({code for codes in found.values() for code in codes or ()})
