"""Texts of about equal length together: what one call of a model is given."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedkit.retrieval.identity import VectorIdentity

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_CHARACTERS_PER_TOKEN = 4  # a guess, for models that do not say how long their input is


def encode(
    model: "SentenceTransformer", texts: Sequence[str], identity: VectorIdentity, *, batch_tokens: int
) -> NDArray[np.float32]:
    """(n, D) vectors of `texts`, equal to sentence-transformers' `encode_query` / `encode_document` up to rounding.

    Batches depend on `texts` alone, so the same texts give the same bytes on one machine.
    """
    method = model.encode_query if identity.task == "query" else model.encode_document
    parts: dict[int, NDArray[np.float32]] = {}
    for rows in token_batches(token_counts(model, texts, identity), batch_tokens):
        vectors = method(
            [texts[row] for row in rows],
            prompt=identity.prompt,
            batch_size=len(rows),
            show_progress_bar=False,
            normalize_embeddings=identity.normalize,
            truncate_dim=identity.truncate_dim,
        )
        parts.update(zip(rows.tolist(), np.asarray(vectors, dtype=np.float32), strict=True))
    return np.stack([parts[row] for row in range(len(texts))])


def token_counts(model: "SentenceTransformer", texts: Sequence[str], identity: VectorIdentity) -> NDArray[np.int64]:
    """How many tokens the model reads of each text, prompt included; a guess where its tokenizer does not tell."""
    features: dict[str, Any] = model.preprocess(list(texts), prompt=identity.prompt, task=identity.task)
    mask = features.get("attention_mask")
    if mask is not None and tuple(mask.shape[:1]) == (len(texts),) and mask.ndim == 2:
        return np.asarray(mask.sum(dim=1).cpu(), dtype=np.int64)
    return np.array([1 + len(text) // _CHARACTERS_PER_TOKEN for text in texts], dtype=np.int64)


def token_batches(counts: NDArray[np.int64], budget: int) -> Iterator[NDArray[np.int64]]:
    """Rows of each batch, longest texts first; at most `budget` tokens a batch, padding included, but at least a text.

    The largest batch comes first, so that too little memory shows at once.
    """
    order = np.argsort(-counts, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, budget // max(1, int(counts[order[start]])))
        yield order[start : start + size]
        start += size
