import importlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from embedkit.core.errors import EmbedkitError, ModelError
from embedkit.retrieval import backends
from embedkit.retrieval.backends import check_backend, computing, model_kwargs
from embedkit.retrieval.encoder import open_encoder
from embedkit.retrieval.loading import load_model
from tests.tiny import WORDS

TEXTS = [" ".join(WORDS[i : i + 4]) for i in range(9)]


def test_a_backend_that_is_not_installed_is_one_line(tiny_model, context, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for backend in ("onnx", "openvino"):
        with pytest.raises(EmbedkitError, match=rf"pip install 'sentence-transformers\[{backend}\]'") as error:
            open_encoder(tiny_model, context, backend=backend)
        assert "\n" not in str(error.value)


def test_a_precision_that_the_backend_does_not_have_is_told(tiny_model, context):
    with pytest.raises(ModelError, match="set precision float32"):
        open_encoder(tiny_model, context, backend="onnx", precision="bfloat16")


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_a_backend_that_does_not_fit_the_other_libraries_is_one_line(monkeypatch, backend):
    def fail(name):
        raise ImportError("cannot import name 'x'\nfrom 'transformers'")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(EmbedkitError, match="is installed but cannot be used") as error:
        model_kwargs(backend, "float32", "cpu")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_vectors_of_other_backends_are_those_of_torch(tiny_model, context, backend):
    try:
        check_backend(backend, "float32")
        model_kwargs(backend, "float32", "cpu")
    except EmbedkitError as error:
        pytest.skip(str(error))
    found = open_encoder(tiny_model, context, backend=backend).documents(TEXTS)
    np.testing.assert_allclose(found, open_encoder(tiny_model, context).documents(TEXTS), atol=1e-5)


def test_openvino_computes_in_the_precision_it_is_told(monkeypatch):
    """Its own choice is bfloat16 on processors that have it."""
    monkeypatch.setattr(importlib, "import_module", lambda name: SimpleNamespace(OVModelForFeatureExtraction=None))
    kwargs = [model_kwargs("openvino", precision, "cpu") for precision in ("float32", "bfloat16")]
    assert kwargs == [[{"ov_config": {"INFERENCE_PRECISION_HINT": hint}}] for hint in ("f32", "bf16")]


def test_a_model_without_flash_attention_is_loaded_all_the_same(tiny_model, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(backends, "_installed", lambda name: True)
    flash, plain = model_kwargs("torch", "bfloat16", None)
    monkeypatch.undo()
    assert flash == {**plain, "attn_implementation": "flash_attention_2"}
    monkeypatch.setattr("embedkit.retrieval.loading.model_kwargs", lambda *_: [flash, plain])
    assert load_model(tiny_model, device="cpu").encode(TEXTS).shape == (9, 32)  # there is no flash attention here
    assert model_kwargs("torch", "float32", "cuda") == [plain]


def test_only_products_are_in_half_precision():
    one = torch.ones(2, 2)
    with computing("bfloat16", torch.device("cpu")):
        assert (one @ one).dtype == torch.bfloat16
        assert torch.nn.functional.layer_norm(one, (2,)).dtype == torch.float32
    with computing("float32", torch.device("cpu")):
        assert (one @ one).dtype == torch.float32
