"""Models that turn texts into vectors: loaded safely, and only for vectors that are not stored yet."""

import contextlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedkit.core.errors import ModelError
from embedkit.core.spec import digest
from embedkit.core.stage import Context
from embedkit.retrieval.batches import encode
from embedkit.retrieval.identity import Similarity, Task, VectorIdentity, read_config, read_json, vector_identity
from embedkit.retrieval.shards import EmbeddingStore, StoredVectors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Floats = NDArray[np.float32]


class StoredEncoder:
    """A model whose vectors are kept: each text is encoded once, whoever asks. Made by `open_encoder`."""

    def __init__(self, folder: Path, context: Context, *, max_length: int | None, batch_tokens: int) -> None:
        config = read_config(folder)
        self.similarity: Similarity = config.similarity
        self._folder, self._context = folder, context
        self._max_length, self._batch_tokens = max_length, batch_tokens
        self._identities = {
            task: vector_identity(
                folder,
                task=task,
                prompt=prompt,
                max_length=max_length,
                truncate_dim=config.truncate_dim,
                normalize=config.similarity == "cosine",
            )
            for task, prompt in config.prompts.items()
        }

    @property
    def identity(self) -> str:
        """Names what this encoder's vectors depend on; equal encoders give equal vectors."""
        return digest([identity.key for identity in self._identities.values()])

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
            lambda some: self._encode(some, identity),
            progress=self._context.progress,
            emit=self._context.emit,
        )

    def _encode(self, texts: Sequence[str], identity: VectorIdentity) -> Floats:
        vectors = encode(self._model, texts, identity, batch_tokens=self._batch_tokens)
        if bad := np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist():
            raise ModelError(
                f"{self._folder}: gives vectors that are not finite for {len(bad)} of {len(texts)} texts, the first "
                f"{texts[bad[0]][:60]!r}; its weights are damaged or its training diverged"
            )
        return vectors

    @cached_property
    def _model(self) -> "SentenceTransformer":
        model = load_model(self._folder)
        if self._max_length is not None:
            model.max_seq_length = self._max_length
        return model


def open_encoder(
    model: Path, context: Context, *, max_length: int | None = None, batch_tokens: int = 16_384
) -> StoredEncoder:
    """The encoder in a model folder, its vectors kept in the context's embedding store.

    `batch_tokens` bounds the tokens of one forward pass; vectors made with another bound differ by rounding only.
    Raises `ModelError` if the folder is no model that can be loaded safely.
    """
    check_folder(model)
    return StoredEncoder(model, context, max_length=max_length, batch_tokens=batch_tokens)


def load_model(folder: Path, *, device: str | None = None) -> "SentenceTransformer":
    """The model in a local folder. Runs no code of the folder's, unpickles nothing, asks no network.

    `device` None: the accelerator if there is one. Raises `ModelError` if the folder is no such model.
    """
    check_folder(folder)
    from sentence_transformers import SentenceTransformer

    try:
        with no_progress_bars():
            return SentenceTransformer(
                str(folder),
                device=device,
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={"use_safetensors": True},
            )
    except MemoryError:
        raise
    except Exception as error:  # a damaged folder fails in as many ways as the libraries that read it
        raise ModelError(
            f"{folder}: cannot be loaded as a sentence-transformers model ({in_one_line(error)})"
        ) from error


def in_one_line(error: Exception) -> str:
    """What another library's error says, cut to a line a user can read."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def check_folder(folder: Path) -> None:
    """Raise `ModelError` unless `folder` looks like a sentence-transformers model that is safe to load."""
    if not (folder / "modules.json").is_file():
        what = "it has no modules.json" if folder.is_dir() else "there is no such folder"
        raise ModelError(f"{folder}: not a sentence-transformers model: {what}")
    if foreign := sorted(name for name in _module_types(folder) if not name.startswith("sentence_transformers.")):
        raise ModelError(
            f"{folder}: needs code of its own ({foreign[0]}), which is never run; "
            "only models made of sentence-transformers' modules can be loaded"
        )
    if adapters := sorted(folder.rglob("adapter_config.json")):
        raise ModelError(f"{adapters[0]}: an adapter without its base model; merge it into the base and save that")
    for path in sorted(folder.rglob("pytorch_model*.bin")):
        if not list(path.parent.glob("*.safetensors")):
            raise ModelError(
                f"{path}: weights in pickle format, which can run code; only safetensors are loaded. Load the model "
                "where you trust it and save it again with `model.save_pretrained(folder)`"
            )
    read_config(folder)


def _module_types(folder: Path) -> Iterator[str]:
    """Class names in modules.json and in the routers it names."""
    modules: Any = read_json(folder / "modules.json")
    try:
        yield from (str(module["type"]) for module in modules)
        for module in modules:
            for name in ("router_config.json", "config.json"):
                path = folder / module["path"] / name
                types = read_json(path).get("types") if path.is_file() else None
                yield from map(str, types.values() if isinstance(types, dict) else ())
    except (TypeError, KeyError, AttributeError):
        raise ModelError(f"{folder / 'modules.json'}: should be a list of modules with name, path and type") from None


@contextlib.contextmanager
def no_progress_bars() -> Iterator[None]:
    """No bars of transformers, which draws one for each file of weights it reads or writes: there are ours."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
