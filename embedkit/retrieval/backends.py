"""What computes a model, and how exactly: the libraries, the numbers, and what they need to be told."""

import importlib.util
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import torch

from embedkit.core.errors import EmbedkitError, ModelError
from embedkit.retrieval.identity import Backend, Precision

_NEEDED: Final[dict[str, tuple[str, ...]]] = {
    "onnx": ("optimum.onnxruntime", "onnxruntime"),
    "openvino": ("optimum.intel", "openvino"),
}
_OPENVINO_TYPES: Final = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


def check_backend(backend: Backend, precision: Precision) -> None:
    """Raise `EmbedkitError` if a backend's libraries are missing or it does not compute in this precision."""
    if backend == "onnx" and precision != "float32":
        raise ModelError(f"backend onnx: computes as the model was exported, not in {precision}; set precision float32")
    if lacking := [name for name in _NEEDED.get(backend, ()) if not _installed(name)]:
        raise EmbedkitError(
            f"backend {backend}: {lacking[0]} is not installed; `pip install 'sentence-transformers[{backend}]'`, "
            "or use `backend: torch`"
        )


def loading(backend: Backend, precision: Precision, device: str | None) -> dict[str, Any]:
    """`model_kwargs` for `SentenceTransformer`."""
    if backend == "onnx":
        gpu = (device or "").startswith("cuda") or (device is None and torch.cuda.is_available())
        return {"provider": "CUDAExecutionProvider" if gpu else "CPUExecutionProvider"}
    if backend == "openvino":  # its own choice is bfloat16 where the processor has it
        return {"ov_config": {"INFERENCE_PRECISION_HINT": _OPENVINO_TYPES[precision]}}
    if precision != "float32" and torch.cuda.is_available() and _installed("flash_attn"):
        # with it, sentence-transformers gives the model texts end to end, without padding
        return {"use_safetensors": True, "attn_implementation": "flash_attention_2"}
    return {"use_safetensors": True}


def computing(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Matrix products in this precision; sums, norms and softmax stay in float32, and so do the vectors."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, precision))


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of the package it would be in
        return False
