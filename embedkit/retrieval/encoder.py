"""Models that turn texts into vectors, loaded only for vectors that are not stored yet."""

import contextlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedkit.core.errors import ModelError
from embedkit.core.spec import digest
from embedkit.core.stage import Context
from embedkit.retrieval.backends import check_backend
from embedkit.retrieval.batches import encode
from embedkit.retrieval.identity import (
    Backend,
    Precision,
    Similarity,
    Storage,
    Task,
    VectorIdentity,
    model_digests,
    read_config,
)
from embedkit.retrieval.loading import check_folder, load_model
from embedkit.retrieval.shard_files import StoredVectors
from embedkit.retrieval.shards import EmbeddingStore
from embedkit.retrieval.tokens import reader

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Encoding:
    """How texts are encoded: what changes the vectors, and what changes only how long it takes."""

    max_length: int | None
    precision: Precision
    backend: Backend
    storage: Storage
    batch_tokens: int | None
    workers: int | None


class StoredEncoder:
    """A model whose vectors are kept: each text is encoded once, whoever asks. Made by `open_encoder`."""

    def __init__(self, folder: Path, context: Context, how: Encoding) -> None:
        config = read_config(folder)
        self.similarity: Similarity = config.similarity
        self._folder, self._context, self._how = folder, context, how
        self._load = cache(partial(_loaded, folder, how))
        common = VectorIdentity(
            model="",
            task="text",
            prompt="",
            max_length=how.max_length,
            precision=how.precision,
            backend=how.backend,
            truncate_dim=config.truncate_dim,
            normalize=config.similarity == "cosine",
            storage=how.storage,
        )
        models = model_digests(folder, how.backend)
        self._identities = {
            task: replace(common, task=task, prompt=text, model=models[task]) for task, text in config.prompts.items()
        }

    def prompted(self, prompts: Mapping[Task, str], *, normalize: bool | None = None) -> "StoredEncoder":
        """The same model, loaded no more than once, with these prompts in place of its own. `normalize`: whether
        vectors are scaled to unit length; None: as before."""
        other = copy(self)
        other._identities = {
            task: replace(
                identity,
                prompt=prompts.get(task, identity.prompt),
                normalize=identity.normalize if normalize is None else normalize,
            )
            for task, identity in self._identities.items()
        }
        return other

    @property
    def identity(self) -> str:
        """Names what this encoder's vectors depend on; equal encoders give equal vectors."""
        return digest([self._identities[task].key for task in ("query", "document", "text")])

    def queries(self, texts: Sequence[str]) -> Floats:
        """(n, D) vectors of queries, of unit length if `similarity` is cosine; (0, 0) for no texts."""
        return self.stored("query", texts).array()

    def documents(self, texts: Sequence[str]) -> Floats:
        """(n, D) vectors of documents, of unit length if `similarity` is cosine; (0, 0) for no texts."""
        return self.stored("document", texts).array()

    def stored(self, task: Task, texts: Sequence[str]) -> StoredVectors:
        """The vectors as they lie on disk, read slice by slice: for corpora larger than memory."""
        identity = self._identities[task]
        return EmbeddingStore(self._context.embeddings).get_or_make(
            identity,
            texts,
            lambda shards: self._encode(shards, identity),
            progress=self._context.progress,
            emit=self._context.emit,
        )

    def _encode(self, shards: Iterable[Sequence[str]], identity: VectorIdentity) -> Generator[Floats, None, None]:
        encoded: deque[Sequence[str]] = deque()  # shards whose vectors are still to come

        def remembered() -> Iterator[Sequence[str]]:
            for texts in shards:
                encoded.append(texts)
                yield texts

        how = self._how
        found = encode(self._load(), remembered(), identity, batch_tokens=how.batch_tokens, workers=how.workers)
        for vectors in found:
            texts = encoded.popleft()
            if bad := np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist():
                raise ModelError(
                    f"{self._folder}: gives vectors that are not finite for {len(bad)} of {len(texts)} texts, the "
                    f"first {texts[bad[0]][:60]!r}; its weights are damaged or its training diverged"
                )
            yield vectors


def _loaded(folder: Path, how: Encoding) -> "SentenceTransformer":
    model = load_model(folder, backend=how.backend, precision=how.precision)
    if how.precision == "float32" and how.backend == "torch":
        model.float()  # language models are mostly stored in bfloat16, and would compute in it
    if how.max_length is not None:
        _set_max_length(model, how.max_length)
    return model


def _set_max_length(model: "SentenceTransformer", max_length: int) -> None:
    """Of every module that texts come to first, and that can be told; static embeddings read all of a text."""
    told = 0
    for module in (reader(model, task) for task in (None, "query", "document")):
        with contextlib.suppress(AttributeError):
            module.max_seq_length = max_length
            told += 1
    if not told:
        raise ModelError(f"max_length is {max_length}, but the model reads all of a text; leave it out")


def open_encoder(
    model: Path,
    context: Context,
    *,
    max_length: int | None = None,
    precision: Precision = "float32",
    backend: Backend = "torch",
    storage: Storage = "float32",
    batch_tokens: int | None = None,
    workers: int | None = None,
) -> StoredEncoder:
    """The encoder in a model folder, its vectors kept in the context's embedding store.

    What computes (`backend`), how exactly (`precision`) and in which numbers vectors are kept (`storage`) is part of
    their identity. `batch_tokens` bounds the tokens of one forward pass, padding counted, and vectors made with another
    bound differ by rounding only; `workers` is how many processes tokenise, 0 for a thread. None: what suits the
    device. Raises `ModelError` if the folder is no model that can be loaded safely, `EmbedkitError` if the backend is
    not installed.
    """
    check_folder(model)
    check_backend(backend, precision)
    return StoredEncoder(model, context, Encoding(max_length, precision, backend, storage, batch_tokens, workers))
