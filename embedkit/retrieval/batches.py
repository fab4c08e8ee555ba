"""Texts of about equal length together, shard after shard: what one call of a model is given."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from embedkit.core.errors import ModelError
from embedkit.retrieval.ahead import tokenised_ahead
from embedkit.retrieval.backends import computing
from embedkit.retrieval.identity import VectorIdentity
from embedkit.retrieval.tokens import Layout, Tokens, can_tokenise

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_CHARACTERS_PER_TOKEN: Final = 4  # a guess, for models that do not say how long their input is
_CPU_TOKENS: Final = 2048  # activations of more leave the caches, of fewer the calls begin to cost
_GPU_TOKENS: Final = 16_384

Floats = NDArray[np.float32]


def encode(
    model: "SentenceTransformer",
    shards: Iterable[Sequence[str]],
    identity: VectorIdentity,
    *,
    batch_tokens: int | None = None,
    workers: int | None = None,
) -> Iterator[Floats]:
    """(n, D) vectors of each shard, equal to sentence-transformers' `encode_query` / `encode_document` up to rounding.

    Batches depend on a shard's texts alone, so the same shard gives the same bytes on one machine. `batch_tokens` None:
    what suits the device; `workers`: see `tokenised_ahead`. Raises `ModelError` if a batch is too much for a GPU.
    """
    budget = batch_tokens or token_budget(model)
    try:
        if can_tokenise(model, identity.route):
            for tokens in tokenised_ahead(model, shards, identity, workers=workers):
                yield _forward(model, tokens, identity, budget)
        else:
            for texts in shards:
                yield _encode_by_st(model, texts, identity, budget)
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"the GPU has too little memory for a batch of {budget:,} tokens; set a smaller `batch_tokens`"
        ) from error


def token_budget(model: "SentenceTransformer") -> int:
    """Tokens of one forward pass that suit the model's device."""
    return _CPU_TOKENS if model.device.type == "cpu" else _GPU_TOKENS


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


@torch.inference_mode()
def _forward(model: "SentenceTransformer", tokens: Tokens, identity: VectorIdentity, budget: int) -> Floats:
    model.eval()
    return encode_tokens(model, tokens, identity, batch_tokens=budget)


def encode_tokens(
    model: "SentenceTransformer", tokens: Tokens, identity: VectorIdentity, *, batch_tokens: int | None = None
) -> Floats:
    """(n, D) vectors of tokenised texts, for a model that `can_tokenise`, in the mode it is in.

    They stay on the device until the last is made, so no batch waits for a copy.
    """
    budget = batch_tokens or token_budget(model)
    here = tokens.on(model.device, Layout.of(model, identity.route))
    batches = list(token_batches(tokens.counts, budget))
    with computing(identity.precision, model.device):
        parts = [_finished(model(here.batch(rows), task=identity.route), identity) for rows in batches]
    result = np.empty((len(tokens.counts), parts[0].shape[1]), dtype=np.float32)
    result[np.concatenate(batches)] = torch.cat(parts).cpu().numpy()
    return result


def _finished(features: dict[str, Any], identity: VectorIdentity) -> Tensor:
    """What sentence-transformers does to a model's output: truncate, then scale to unit length."""
    vectors: Tensor = features["sentence_embedding"].float()[:, : identity.truncate_dim]
    return normalize(vectors, p=2, dim=1) if identity.normalize else vectors


def _encode_by_st(model: "SentenceTransformer", texts: Sequence[str], identity: VectorIdentity, budget: int) -> Floats:
    """The same by sentence-transformers' own methods, which tokenise every batch once more: for any kind of model."""
    method: Any = {"query": model.encode_query, "document": model.encode_document}.get(identity.task, model.encode)
    parts: dict[int, Floats] = {}
    with computing(identity.precision, model.device):
        for rows in token_batches(_token_counts(model, texts, identity), budget):
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


def _token_counts(model: "SentenceTransformer", texts: Sequence[str], identity: VectorIdentity) -> NDArray[np.int64]:
    """How many tokens the model reads of each text, prompt included; a guess where its tokenizer does not tell."""
    features: dict[str, Any] = model.preprocess(list(texts), prompt=identity.prompt, task=identity.route)
    mask = features.get("attention_mask")
    if mask is not None and tuple(mask.shape[:1]) == (len(texts),) and mask.ndim == 2:
        return np.asarray(mask.sum(dim=1).cpu(), dtype=np.int64)
    return np.array([1 + len(text) // _CHARACTERS_PER_TOKEN for text in texts], dtype=np.int64)
