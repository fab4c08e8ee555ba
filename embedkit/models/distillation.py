"""A vector for each token of a vocabulary, taken from a model that reads texts in context."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sklearn.decomposition import PCA

from embedkit.core.errors import ModelError
from embedkit.core.progress import Progress
from embedkit.models.tokens import special_tokens
from embedkit.modules.means import mean_over_tokens

Floats = NDArray[np.float32]
_AT_A_TIME: Final = 512  # tokens


def token_vectors(model: SentenceTransformer, progress: Progress) -> Floats:
    """(V, D) what the model's transformer says of each token of its vocabulary alone, between the special tokens that
    stand around a text: the mean of the last hidden states."""
    transformer: Any = model[0]
    size = transformer.tokenizer.backend_tokenizer.get_vocab_size()
    found = []
    with progress("embedding the vocabulary", size) as advance:
        for ids in _alone(transformer.tokenizer, size):
            features = {"input_ids": ids.to(model.device), "attention_mask": torch.ones_like(ids).to(model.device)}
            with torch.inference_mode():
                hidden = transformer.eval()(features)["token_embeddings"]
                found.append(mean_over_tokens(hidden, features).float().cpu().numpy())
            advance(len(ids))
    return np.concatenate(found)


def reduced(vectors: Floats, dimensions: int) -> Floats:
    """(V, D) -> (V, dimensions): their principal components, signs settled so that every machine has the same."""
    most = min(vectors.shape[1], len(vectors) - 1)
    if dimensions > most:
        raise ModelError(
            f"dimensions: {len(vectors)} token vectors of {vectors.shape[1]} numbers have no {dimensions} principal "
            f"components; set at most {most}"
        )
    solver = PCA(dimensions, svd_solver="covariance_eigh")
    return np.asarray(solver.fit_transform(vectors.astype(np.float64)), dtype=np.float32)


def zipf_weights(size: int, sif: float) -> Floats:
    """(size,) weights a / (a + p_i) that make frequent tokens count less (Arora et al., 2017), a = `sif`.

    p_i is in proportion to 1 / (i + 2), Zipf's law: vocabularies list frequent tokens first. As in model2vec
    (https://github.com/MinishLab/model2vec, `distill/inference.py`, 0.10).
    """
    frequency = 1 / np.arange(2, size + 2)
    return np.asarray(sif / (sif + frequency / frequency.sum()), dtype=np.float32)


def _alone(tokenizer: Any, size: int) -> Iterator[torch.Tensor]:
    """(n, T) ids of texts of one token, for all tokens."""
    before, after = (torch.tensor(ids, dtype=torch.long) for ids in special_tokens(tokenizer))
    for first in range(0, size, _AT_A_TIME):
        ids = torch.arange(first, min(first + _AT_A_TIME, size))[:, None]
        yield torch.cat([before.expand(len(ids), -1), ids, after.expand(len(ids), -1)], dim=1)
