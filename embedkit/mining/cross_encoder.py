"""The edge to sentence-transformers' CrossEncoder: safe loading, and scoring many lists in one go."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder

from embedkit.core.errors import ModelError
from embedkit.core.progress import Progress
from embedkit.mining.teacher import Folder, Hub, Rows, Scores
from embedkit.retrieval.encoder import in_one_line
from embedkit.retrieval.hub import fetch_model

_BLOCK = 64  # batches between two signs of progress; pairs are sorted by length within a block


def load(source: Folder | Hub, *, max_length: int | None) -> CrossEncoder:
    """The model, giving raw scores. Raises `ModelError` unless it is one score a pair from safetensors weights."""
    folder = source.path if isinstance(source, Folder) else fetch_model(source.name, source.revision)
    if pickles := [p for p in sorted(folder.rglob("*.bin")) if not any(p.parent.glob("*.safetensors"))]:
        raise ModelError(f"{pickles[0]}: a pickle, which can run code; only safetensors weights are read. Convert it.")
    try:
        model: CrossEncoder = CrossEncoder(
            str(folder),
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True},
            max_length=max_length,
            activation_fn=torch.nn.Identity(),
        )
    except MemoryError:
        raise
    except Exception as error:  # a damaged folder fails in as many ways as the libraries that read it
        raise ModelError(f"{folder}: not a cross-encoder that can be loaded safely: {in_one_line(error)}") from error
    if model.num_labels != 1:
        raise ModelError(f"{folder}: gives {model.num_labels} scores a pair; a teacher gives one")
    return model


def score_lists(
    model: CrossEncoder,
    queries: Sequence[str],
    documents: Sequence[str],
    lists: Sequence[Rows],
    batch_size: int,
    progress: Progress,
) -> list[Scores]:
    """Scores of each query with the documents of its list; batches run across queries."""
    pairs = [(query, documents[row]) for query, rows in zip(queries, lists, strict=True) for row in rows]
    blocks: list[NDArray[Any]] = [np.empty(0, dtype=np.float32)]
    with progress("cross-encoder", len(pairs)) as advance:
        for start in range(0, len(pairs), batch_size * _BLOCK):
            block = pairs[start : start + batch_size * _BLOCK]
            blocks.append(model.predict(block, batch_size=batch_size, show_progress_bar=False))
            advance(len(block))
    ends = np.cumsum([len(rows) for rows in lists])[:-1]
    return list(np.split(np.concatenate(blocks), ends)) if lists else []
