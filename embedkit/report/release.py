"""The files of a released model."""

from pathlib import Path
from typing import Final

from embedkit.core.records import link_tables
from embedkit.core.stats import STATS
from embedkit.core.store import MANIFEST
from embedkit.modules import TYPES
from embedkit.retrieval.adapters import adapter_of
from embedkit.retrieval.identity import TRAINING_STATE
from embedkit.retrieval.routes import every_part

_NOT_THE_MODELS: Final = {MANIFEST, STATS, TRAINING_STATE, "README.md"}


def link_model(source: Path, out: Path) -> int:
    """Give `out` every file of the model in `source`, byte for byte; returns how many.

    The artifact's own manifest and stats stay behind, and so do an older model card and the state of a training.
    """
    names = [path.relative_to(source).as_posix() for path in sorted(source.rglob("*")) if path.is_file()]
    names = [name for name in names if name not in _NOT_THE_MODELS]
    for name in names:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
    link_tables(source, out, names)
    return len(names)


def needs_embedkit(model: Path) -> bool:
    """Whether a model folder is not for sentence-transformers alone: it has modules of embedkit's, or an adapter."""
    return any(part.type in TYPES for part in every_part(model)) or adapter_of(model) is not None
