"""What computes a model, and how exactly: the libraries, the numbers, and what they need to be told."""

import importlib
import importlib.util
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Literal

import torch

from embedkit.core.errors import EmbedkitError, ModelError
from embedkit.retrieval.identity import Backend, Precision

Attention = Literal["auto", "eager", "sdpa", "flash_attention_2"]

_NEEDED: Final = {  # backend -> runtime; the package that brings it to transformers' models, and what is taken from it
    "onnx": ("onnxruntime", "optimum.onnxruntime", "ORTModelForFeatureExtraction"),
    "openvino": ("openvino", "optimum.intel", "OVModelForFeatureExtraction"),
}
_OPENVINO_TYPES: Final = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


def check_backend(backend: Backend, precision: Precision) -> None:
    """Raise `EmbedkitError` if a backend's libraries are missing or it does not compute in this precision."""
    if backend == "onnx" and precision != "float32":
        raise ModelError(f"backend onnx: computes as the model was exported, not in {precision}; set precision float32")
    if lacking := [name for name in _NEEDED.get(backend, ())[:2] if not _installed(name)]:
        raise EmbedkitError(
            f"backend {backend}: {lacking[0]} is not installed; `pip install 'sentence-transformers[{backend}]'`, "
            "or use `backend: torch`"
        )


def model_kwargs(
    backend: Backend, precision: Precision, device: str | None, attention: Attention = "auto"
) -> list[dict[str, Any]]:
    """`model_kwargs` for `SentenceTransformer`: the best first, and what to try if a model cannot do that.

    `attention` is how attention is computed, and nothing else will do; "auto": what suits model and machine.

    Raises `EmbedkitError` if the backend's libraries do not work.
    """
    gpu = (device or "").startswith("cuda") or (device is None and torch.cuda.is_available())
    if backend == "onnx":
        _try_out(backend)
        return [{"provider": "CUDAExecutionProvider" if gpu else "CPUExecutionProvider"}]
    if backend == "openvino":
        _try_out(backend)
        return [{"ov_config": {"INFERENCE_PRECISION_HINT": _OPENVINO_TYPES[precision]}}]  # its own choice may be less
    plain: dict[str, Any] = {"use_safetensors": True}
    if attention != "auto":
        return [{**plain, "attn_implementation": attention}]
    if precision != "float32" and gpu and _installed("flash_attn"):
        # with it, sentence-transformers gives the model texts end to end, without padding
        return [{**plain, "attn_implementation": "flash_attention_2"}, plain]
    return [plain]


def computing(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Matrix products in this precision; sums, norms and softmax stay in float32, and so do the vectors."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, precision))


def _try_out(backend: Literal["onnx", "openvino"]) -> None:
    _, package, name = _NEEDED[backend]
    try:
        getattr(importlib.import_module(package), name)
    except (ImportError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise EmbedkitError(
            f"backend {backend}: {package} is installed but cannot be used ({reason}); its version may not fit the "
            "installed transformers. Use `backend: torch`, or a version that does"
        ) from error


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of the package it would be in
        return False
