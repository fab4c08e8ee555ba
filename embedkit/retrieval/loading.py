"""Models read from local folders: safely, whatever is in them."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedkit.core.errors import ModelError
from embedkit.modules import TYPES, module_classes
from embedkit.retrieval.adapters import adapter_of, merge_adapter, without_adapter
from embedkit.retrieval.backends import Attention, check_backend, model_kwargs
from embedkit.retrieval.identity import Backend, Precision, read_config, read_json

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


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

    *better, last = model_kwargs(backend, precision, device, attention)
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
    check_weights(folder)
    read_config(folder)


def check_weights(folder: Path) -> None:
    """Raise `ModelError` where weights are in pickle format alone."""
    for path in sorted(folder.rglob("pytorch_model*.bin")):
        if not list(path.parent.glob("*.safetensors")):
            raise ModelError(
                f"{path}: weights in pickle format, which can run code; only safetensors are loaded. Load the model "
                "where you trust it and save it again with `model.save_pretrained(folder)`"
            )


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
