"""The edge to sentence-transformers' CrossEncoder: safe loading, and scoring many lists in one go."""

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder

from embedkit.core.errors import ModelError
from embedkit.core.progress import Progress
from embedkit.mining.teacher import Folder, Hub, Rows, Scores
from embedkit.retrieval.hub import fetch_model
from embedkit.retrieval.loading import check_weights, in_one_line

LISTS: Final = 64  # whose pairs are sorted by length and batched together


def load(
    source: Folder | Hub, *, max_length: int | None, precision: Literal["float32", "bfloat16"] = "float32"
) -> CrossEncoder:
    """The model, giving raw scores. Raises `ModelError` unless it is one score a pair from safetensors weights."""
    folder = source.path if isinstance(source, Folder) else fetch_model(source.name, source.revision)
    check_weights(folder)
    try:
        model: CrossEncoder = CrossEncoder(
            str(folder),
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True, "dtype": getattr(torch, precision)},
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
    """Scores of each query with the documents of its list.

    Batches run across the queries of `LISTS` lists, longest pairs first, and never further: so a pair's batch, and
    with it the last digits of its score, is the same however many lists are asked for at a time. A pair of texts that
    comes twice in them is scored once. Raises `ModelError` if a score is not a finite number.
    """
    scores: list[Scores] = []
    with progress("cross-encoder", sum(map(len, lists))) as advance:
        for start in range(0, len(lists), LISTS):
            part = slice(start, start + LISTS)
            found = _score(model, queries[part], documents, lists[part], batch_size)
            scores += np.split(found, np.cumsum([len(rows) for rows in lists[part]])[:-1])
            advance(len(found))
    return scores


def _score(
    model: CrossEncoder, queries: Sequence[str], documents: Sequence[str], lists: Sequence[Rows], batch_size: int
) -> NDArray[Any]:
    """Scores of the lists one after the other."""
    pairs = [(query, documents[int(row)]) for query, rows in zip(queries, lists, strict=True) for row in rows]
    distinct = {pair: place for place, pair in enumerate(dict.fromkeys(pairs))}
    if not distinct:
        return np.empty(0, dtype=np.float32)
    scores: NDArray[Any] = model.predict(list(distinct), batch_size=batch_size, show_progress_bar=False)
    if bad := np.flatnonzero(~np.isfinite(scores)).tolist():
        query, document = list(distinct)[bad[0]]
        name = getattr(model.config, "name_or_path", "cross-encoder")
        raise ModelError(
            f"{name}: gives scores that are not finite for {len(bad)} of {len(distinct)} pairs, the first "
            f"{query[:40]!r} with {document[:40]!r}; its weights are damaged or its training diverged"
        )
    return scores[[distinct[pair] for pair in pairs]]
