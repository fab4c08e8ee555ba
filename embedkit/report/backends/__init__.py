"""A released model's weights for other runtimes, and the proof that they give the same vectors."""

import importlib.util
from collections.abc import Sequence
from typing import Final, Literal

from embedkit.core.errors import EmbedkitError

Runtime = Literal["onnx", "openvino"]

_NEEDED: Final = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "openvino")}


def check_installed(runtimes: Sequence[Runtime]) -> None:
    """Raise `EmbedkitError` if a package is missing that writes or runs the files of one of them."""
    for runtime in runtimes:
        lacking = [name for name in _NEEDED[runtime] if importlib.util.find_spec(name) is None]
        if lacking:
            raise EmbedkitError(
                f"backends: {runtime} needs {', '.join(lacking)}, not installed here; pip install 'embedkit[export]'"
            )
