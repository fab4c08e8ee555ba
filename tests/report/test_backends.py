"""A released model's ONNX and OpenVINO files: the same vectors, the same bytes, one line where that cannot be."""

import importlib.util
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from embedkit.core.errors import EmbedkitError, ModelError, StageError
from embedkit.core.stats import read_stats
from embedkit.report import backends
from embedkit.report.stage import Package

PACKAGES = ("onnx", "onnxscript", "onnxruntime", "openvino")
lacking = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
exporting = pytest.mark.skipif(bool(lacking), reason=f"not installed: {', '.join(lacking)}")
TEXTS = ["list files", "copy the image and the video", "sort page table by key " * 20, "x"]


@pytest.fixture
def folder(tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "model")
    return tmp_path / "model"


def texts_run(folder, features):
    """Vectors by ONNX, pooled by a plain mean over the tokens that are no padding."""
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "onnx/model.onnx", providers=["CPUExecutionProvider"])
    assert [out.name for out in session.get_outputs()] == ["last_hidden_state"]
    hidden = session.run(None, {i.name: features[i.name].numpy() for i in session.get_inputs()})[0]
    mask = features["attention_mask"].numpy()[..., None]
    pooled = (hidden * mask).sum(axis=1) / mask.sum(axis=1)
    return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


@exporting
def test_onnx_gives_the_models_vectors_for_any_number_of_texts_of_any_length(folder):
    from sentence_transformers import SentenceTransformer

    from embedkit.report.backends.parity import export

    (found,) = export(folder, ("onnx",), TEXTS)
    assert (found.runtime, found.file) == ("onnx", "onnx/model.onnx")
    assert found.texts > len(TEXTS)
    assert found.largest_difference < 1e-5
    model = SentenceTransformer(str(folder), device="cpu")
    for texts in (TEXTS, TEXTS[:1], TEXTS[2:]):
        features = model.preprocess(texts)
        np.testing.assert_allclose(texts_run(folder, features), model.encode(texts), atol=1e-5)


@exporting
def test_openvino_alone_leaves_no_onnx_file(folder):
    from embedkit.report.backends.parity import export

    (found,) = export(folder, ("openvino",))
    assert found.runtime == "openvino"
    assert found.largest_difference < 1e-5
    assert sorted(p.name for p in (folder / "openvino").iterdir()) == ["openvino_model.bin", "openvino_model.xml"]
    assert not list(folder.rglob("*.onnx"))
    assert not list(folder.glob(".onnx-*"))


@exporting
def test_the_files_are_the_same_bytes_again_and_name_no_place_of_this_machine(folder, tmp_path):
    from embedkit.report.backends.parity import export

    shutil.copytree(folder, tmp_path / "again")
    for place in (folder, tmp_path / "again"):
        export(place, ("onnx", "openvino"))
    for name in ("onnx/model.onnx", "openvino/openvino_model.bin", "openvino/openvino_model.xml"):
        content = (folder / name).read_bytes()
        assert content == (tmp_path / "again" / name).read_bytes()
        assert b"site-packages" not in content
        assert b"pipeline.py" not in content


@exporting
def test_files_that_give_other_vectors_are_refused(folder, monkeypatch):
    from embedkit.report.backends import parity

    def damaged(pipeline, path):
        with torch.no_grad():
            weights = next(pipeline.hidden.parameters())
            kept = weights.clone()
            weights += 0.1 * torch.arange(weights.numel()).reshape(weights.shape).remainder(7)
            write(pipeline, path)
            weights.copy_(kept)

    write = parity.write_onnx
    monkeypatch.setattr(parity, "write_onnx", damaged)
    with pytest.raises(
        StageError, match=r"^onnx/model.onnx: its vectors differ from PyTorch's by up to .* of `backends`$"
    ):
        parity.export(folder, ("onnx",))


@exporting
def test_a_model_without_a_transformer_is_told(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    from embedkit.report.backends.parity import export

    words = StaticEmbedding(Tokenizer(WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]")), embedding_dim=4)
    SentenceTransformer(modules=[words], device="cpu").save(str(tmp_path / "static"), create_model_card=False)
    with pytest.raises(ModelError, match="begins with StaticEmbedding; only a model that begins with one transformer"):
        export(tmp_path / "static", ("onnx",))


@exporting
def test_a_model_that_pools_all_layers_is_told(tiny_model, tmp_path):
    from sentence_transformers import SentenceTransformer

    from embedkit.modules.layerwise_pooling import LayerwisePooling
    from embedkit.report.backends.pipeline import Pipeline
    from embedkit.retrieval.loading import load_model

    transformer = load_model(tiny_model, device="cpu")[0]
    transformer.model.config.output_hidden_states = True
    model = SentenceTransformer(modules=[transformer, LayerwisePooling(32, 2, latents=4, heads=2)], device="cpu")
    model.save(str(tmp_path), create_model_card=False)
    with pytest.raises(ModelError, match="LayerwisePooling pools what every layer says, and ONNX and OpenVINO files"):
        Pipeline.open(tmp_path)


def test_the_package_has_the_files_and_its_card_says_how_near_they_are(run, tiny_model, tmp_path):
    soup = run.artifacts["soup"]
    model = tmp_path / "soup"
    shutil.copytree(tiny_model, model)
    artifacts = {**run.artifacts, "soup": type(soup)(soup.key, model)}
    out = tmp_path / "out"
    out.mkdir()
    stage = Package(model="soup", scores="scores", name="small", samples=50, backends=("onnx",), license="mit")
    stage.run(artifacts, out, run.context(tmp_path / "context"))
    (told,) = read_stats(out)["backends"]
    assert (out / told["file"]).is_file()
    assert not (model / told["file"]).exists()
    card = (out / "README.md").read_text()
    assert "## Other runtimes" in card
    assert f"| onnx | `onnx/model.onnx` | {told['largest_difference']:.1e} | {told['texts']} |" in card
    assert json.loads((out / "modules.json").read_text())


def test_a_missing_package_is_told_before_anything_runs(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        backends.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else found("json")
    )
    with pytest.raises(EmbedkitError, match=r"^backends: onnx needs onnxscript, not installed here; pip install"):
        Package(model="a", scores="s", backends=("onnx",)).facts()
    assert Package(model="a", scores="s").facts() == {}


def test_the_stage_is_known_without_any_runtime():
    code = (
        "import sys, embedkit.report.stage; heavy = {'onnx', 'onnxruntime', 'openvino', 'sentence_transformers'}; "
        "print(sorted(heavy & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
