"""Models that turn texts into vectors: loaded safely, and only for vectors that are not stored yet."""

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedkit.core.errors import ModelError
from embedkit.core.spec import digest
from embedkit.core.stage import Context
from embedkit.modules import TYPES, module_classes
from embedkit.retrieval.adapters import adapter_of, merge_adapter, without_adapter
from embedkit.retrieval.backends import Attention, check_backend, loading
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
    read_json,
)
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
        models = model_digests(folder)
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


def load_model(
    folder: Path,
    *,
    device: str | None = None,
    backend: Backend = "torch",
    precision: Precision = "float32",
    attention: Attention = "auto",
) -> "SentenceTransformer":
    """The model in a local folder. Runs no code of the folder's, unpickles nothing, asks no network.

    `device` None: the accelerator if there is one, of several the one that is this process's under `accelerate launch`.
    Raises `ModelError` if the folder is no such model, `EmbedkitError` if the backend is not installed.
    """
    check_folder(folder)
    check_backend(backend, precision)
    from sentence_transformers import SentenceTransformer

    *better, last = loading(backend, precision, device, attention)
    make: Callable[..., SentenceTransformer] = SentenceTransformer
    if any(name in TYPES for name in _module_types(folder)):  # what its own trainer does for classes already imported
        make = partial(SentenceTransformer._load_with_module_classes, module_classes=module_classes())

    adapter = adapter_of(folder)

    def load(kwargs: dict[str, Any]) -> "SentenceTransformer":
        with no_progress_bars(), without_adapter(folder, adapter) as plain:
            model = make(
                str(plain),
                device=device,
                trust_remote_code=False,
                local_files_only=True,
                backend=backend,
                model_kwargs=kwargs,
            )
            if adapter is not None:
                merge_adapter(model, adapter)
        return model

    for kwargs in better:
        with contextlib.suppress(ValueError, ImportError):  # a model that has no such attention
            return load(kwargs)
    try:
        return load(last)
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
    if foreign := sorted(name for name in _module_types(folder) if not is_known(name)):
        raise ModelError(
            f"{folder}: needs code of its own ({foreign[0]}), which is never run; "
            "only models made of sentence-transformers' and embedkit's modules can be loaded"
        )
    adapter_of(folder)
    for path in sorted(folder.rglob("pytorch_model*.bin")):
        if not list(path.parent.glob("*.safetensors")):
            raise ModelError(
                f"{path}: weights in pickle format, which can run code; only safetensors are loaded. Load the model "
                "where you trust it and save it again with `model.save_pretrained(folder)`"
            )
    read_config(folder)


def is_known(module_type: str) -> bool:
    """Whether a class that modules.json names is one that may be loaded: sentence-transformers' or embedkit's."""
    return module_type.startswith("sentence_transformers.") or module_type in TYPES


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
