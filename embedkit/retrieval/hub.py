"""The edge to the Hugging Face hub: the safe files of a model's commit, and folders to a repository of one's own."""

import os
from pathlib import Path
from typing import Final, Literal

from huggingface_hub import HfApi, constants, snapshot_download, try_to_load_from_cache

from embedkit.core.errors import DataError, ModelError
from embedkit.retrieval.loading import in_one_line

_FILES: Final = ["*.safetensors", "*.json", "*.txt", "*.model"]
_NEVER: Final = ["onnx/*", "openvino/*", "*.bin", "*.pt", "*.py"]


def fetch_model(name: str, revision: str) -> Path:
    """The local folder of a hub model's safe files at a commit. Raises `ModelError` if they cannot be had."""
    try:
        folder = snapshot_download(name, revision=revision, allow_patterns=_FILES, ignore_patterns=_NEVER)
    except Exception as error:  # those of the hub, of its HTTP client, of the network and of the disk
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0") else ""
        raise ModelError(
            f"{name} at {revision}: cannot be fetched from the hub{offline}: {in_one_line(error)}. "
            "A machine without the hub needs a folder with its files: `source: {kind: folder, path: ...}`"
        ) from error
    return Path(folder)


def commit_of(name: str, revision: str, what: str) -> str:
    """The commit that a branch or tag of a model or dataset (`what`) is at; without the hub, that of the copy fetched
    last. Raises `ModelError` or `DataError` if it cannot be told."""
    try:
        return str(HfApi().repo_info(name, revision=revision, repo_type=what).sha)
    except Exception as error:
        for file in ("config.json", "README.md"):
            cached = try_to_load_from_cache(name, file, revision=revision, repo_type=what)
            if isinstance(cached, str):
                return Path(cached).parent.name  # .../snapshots/<commit>/<file>
        kind = ModelError if what == "model" else DataError
        raise kind(f"{name} at {revision}: the hub does not tell its commit: {in_one_line(error)}") from error


def check_online(name: str) -> None:
    """Raise `DataError` where the hub's client was told not to use the network."""
    if constants.HF_HUB_OFFLINE:
        raise DataError(f"{name}: HF_HUB_OFFLINE is set, so nothing can be pushed; unset it, or do not push")


def upload(name: str, folder: Path, *, kind: Literal["model", "dataset"], message: str, private: bool = False) -> str:
    """Push the files of a folder as one commit to the repository `name`, made if there is none; its address.

    Raises `ModelError` or `DataError` if the hub does not take them.
    """
    try:
        api = HfApi()
        url = api.create_repo(name, repo_type=kind, private=private or None, exist_ok=True)
        api.upload_folder(repo_id=name, repo_type=kind, folder_path=folder, commit_message=message)
    except Exception as error:  # those of the hub, of its HTTP client and of the network
        raised = ModelError if kind == "model" else DataError
        raise raised(f"{name}: cannot be pushed to the hub: {_first_line(error)}") from error
    return str(url)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
