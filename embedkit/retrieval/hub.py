"""The edge to the Hugging Face hub for models: the safe files of one commit."""

import os
from pathlib import Path
from typing import Final

from huggingface_hub import snapshot_download

from embedkit.core.errors import ModelError
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
