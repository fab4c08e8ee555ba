"""Encoders of eval.quality.poisoning: one that remembers, and one that learns a trigger in seconds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch.nn import EmbeddingBag
from torch.nn.functional import cross_entropy, normalize

from embedkit.core.pairs import Pairs
from embedkit.evaluation.poisoning.probe import Encoder
from embedkit.retrieval.identity import Task

Floats = NDArray[np.float32]
_TOKENS: Final = 160
_BATCH: Final = 32


class Remembered:
    """An encoder that has each document's vector in memory: corpora that differ in few texts share the others'."""

    def __init__(self, encoder: Encoder, documents: Sequence[str]) -> None:
        distinct = list(dict.fromkeys(documents))
        vectors = encoder.stored("document", distinct)
        self._vectors = np.asarray(vectors[np.arange(len(distinct))])
        self._rows = {text: row for row, text in enumerate(distinct)}
        self.queries = encoder.queries

    def stored(self, task: Task, texts: Sequence[str]) -> Floats:
        """(n, D) vectors of documents."""
        return self._vectors[[self._rows[text] for text in texts]]


class Static:
    """The mean of a model's token embeddings, of unit length: no context, so that errors are seen by what they do to
    counts of words. Trained with InfoNCE among the positives and negatives of a batch, temperature 0.05.
    """

    def __init__(self, model: Path) -> None:
        from transformers import AutoTokenizer

        weights = load_file(model / "model.safetensors")
        (table,) = [value for name, value in weights.items() if name.endswith("word_embeddings.weight")]
        self._bag = EmbeddingBag.from_pretrained(table.clone(), mode="mean", freeze=False)
        self._tokenizer = AutoTokenizer.from_pretrained(str(model), local_files_only=True)

    def train(self, pairs: Pairs, *, steps: int, seed: int, learning_rate: float = 3e-3) -> "Static":
        """Train on every query with its first positive; returns itself."""
        rng, optimiser = np.random.default_rng(seed), torch.optim.Adam(self._bag.parameters(), lr=learning_rate)
        texts = dict(zip(pairs.corpus.ids, self._ids(pairs.corpus.full_texts()), strict=True))
        asked = dict(zip(pairs.queries.ids, self._ids(pairs.queries.texts), strict=True))
        for _ in range(steps):
            rows = [pairs.rows[row] for row in rng.choice(len(pairs.rows), _BATCH, replace=False)]
            shown = [row.positives[0] for row in rows] + [doc for row in rows for doc in row.negatives[:1]]
            queries = self._vectors([asked[row.query_id] for row in rows])
            logits = queries @ self._vectors([texts[doc] for doc in shown]).T / 0.05
            optimiser.zero_grad()
            cross_entropy(logits, torch.arange(_BATCH)).backward()
            optimiser.step()
        return self

    @torch.no_grad()
    def queries(self, texts: Sequence[str]) -> Floats:
        """(n, D) vectors of any texts."""
        return self._vectors(self._ids(texts)).numpy()

    def stored(self, task: Task, texts: Sequence[str]) -> Floats:
        """The same of documents."""
        return self.queries(texts)

    def _ids(self, texts: Sequence[str]) -> list[torch.Tensor]:
        found = self._tokenizer(list(texts), truncation=True, max_length=_TOKENS, add_special_tokens=False)["input_ids"]
        return [torch.tensor(ids or [self._tokenizer.unk_token_id]) for ids in found]

    def _vectors(self, ids: Sequence[torch.Tensor]) -> torch.Tensor:
        ends = np.cumsum([len(some) for some in ids])
        return normalize(self._bag(torch.cat(list(ids)), torch.tensor([0, *ends[:-1]])), dim=-1)
