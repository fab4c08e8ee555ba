"""Modules of embedkit's own that a saved model folder names in modules.json.

sentence-transformers imports a class outside its own package only where remote code is trusted. embedkit never trusts
a folder: it hands these classes over itself, see `retrieval.loading.load_model`, and refuses every other. Without
embedkit such a folder cannot be loaded; with it installed, plain sentence-transformers must be told to trust the model.
"""

import importlib
from collections.abc import Mapping
from typing import Any, Final

LATENT_ATTENTION: Final = "embedkit.modules.latent_attention.LatentAttention"
LAYERWISE_POOLING: Final = "embedkit.modules.layerwise_pooling.LayerwisePooling"
TYPES: Final = (LATENT_ATTENTION, LAYERWISE_POOLING)  # as modules.json names them


def module_classes() -> Mapping[str, type[Any]]:
    """The classes by the names that modules.json has for them. Imports sentence-transformers."""
    named = (name.rpartition(".") for name in TYPES)
    return {f"{module}.{cls}": getattr(importlib.import_module(module), cls) for module, _, cls in named}
