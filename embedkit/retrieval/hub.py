"""The edge to the Hugging Face hub for models: the safe files of one commit."""

import os
from pathlib import Path
from typing import Final

from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache

from embedkit.core.errors import DataError, ModelError
from embedkit.retrieval.encoder import in_one_line

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
