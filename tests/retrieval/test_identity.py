"""Vectors may be shared only where nothing differs that a vector depends on; peers give one model another's vectors."""

import dataclasses
import json
import shutil

import pytest
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from embedkit.core.errors import ModelError
from embedkit.core.store import Store, digests
from embedkit.retrieval.identity import CONFIG, digest_of_files, model_digest, read_config, vector_identity


def configure(folder, **changes):
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | changes))
    return folder


def test_one_number_of_one_weight_makes_another_model(tiny_model, copy):
    assert model_digest(copy) == model_digest(tiny_model)
    weights = load_file(copy / "model.safetensors")
    next(iter(weights.values())).view(-1)[0] += 1e-3
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert model_digest(copy) != model_digest(tiny_model)


@pytest.mark.parametrize("name", ["tokenizer.json", "1_Pooling/config.json", "config.json", "modules.json", "new.bin"])
def test_every_file_that_may_change_a_vector_counts(tiny_model, copy, name):
    with (copy / name).open("a") as file:
        file.write(" ")
    assert model_digest(copy) != model_digest(tiny_model)


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "stats.json", ".gitattributes", "training_args.bin"])
def test_files_no_vector_depends_on_do_not_count(tiny_model, copy, name):
    (copy / name).write_text("anything")
    assert model_digest(copy) == model_digest(tiny_model)


@pytest.mark.parametrize(
    ("name", "backend"),
    [("onnx/model.onnx", "onnx"), ("onnx/model.onnx.data", "onnx"), ("openvino/openvino_model.bin", "openvino")],
)
def test_an_export_counts_for_the_backend_that_reads_it(tiny_model, copy, name, backend):
    backends = ("torch", "onnx", "openvino")
    before = {kind: model_digest(tiny_model, kind) for kind in backends}
    (copy / name).parent.mkdir()
    (copy / name).write_bytes(b"a graph")
    assert [kind for kind in backends if model_digest(copy, kind) != before[kind]] == [backend]


def test_weights_in_a_folder_named_like_a_backend_count(tiny_model, copy):
    (copy / "onnx").mkdir()
    shutil.copyfile(copy / "model.safetensors", copy / "onnx" / "model.safetensors")
    assert model_digest(copy) != model_digest(tiny_model)


def test_a_file_of_the_same_name_in_a_module_counts(tiny_model, copy):
    (copy / "1_Pooling" / "stats.json").write_text("{}")
    assert model_digest(copy) != model_digest(tiny_model)


def test_every_setting_makes_another_identity(tiny_model):
    base = vector_identity(tiny_model, task="query", prompt="")
    others = {
        "model": "0" * 64,
        "task": "document",
        "prompt": "q: ",
        "max_length": 16,
        "precision": "float16",
        "backend": "onnx",
        "truncate_dim": 8,
        "normalize": False,
        "storage": "float16",
    }
    assert others.keys() == {field.name for field in dataclasses.fields(base)}
    keys = {dataclasses.replace(base, **{name: value}).key for name, value in others.items()}
    assert len(keys | {base.key}) == len(others) + 1


def test_the_manifest_of_an_artifact_saves_reading_it(tiny_model, tmp_path, monkeypatch):
    def make(draft, work):
        shutil.copytree(tiny_model, draft, dirs_exist_ok=True)
        return {}

    store = Store(tmp_path / "store")
    made = store.get_or_make("a" * 64, make, about={"kind": "k", "type": "model", "spec": {}, "inputs": {}})
    monkeypatch.setattr("embedkit.retrieval.identity.sha256", lambda _: pytest.fail("read again"))
    assert model_digest(made.path) == digest_of_files(digests(tiny_model))
    assert model_digest(made.path) == digest_of_files(store.manifest(made.key).files)


def test_a_copy_of_an_artifact_is_read_since_it_may_have_been_edited(tiny_model, tmp_path):
    def make(draft, work):
        shutil.copytree(tiny_model, draft, dirs_exist_ok=True)
        return {}

    about = {"kind": "k", "type": "model", "spec": {}, "inputs": {}}
    made = Store(tmp_path / "store").get_or_make("a" * 64, make, about=about)
    copy = shutil.copytree(made.path, tmp_path / "mine")
    assert model_digest(copy) == model_digest(made.path)
    (copy / "model.safetensors").write_bytes(b"other weights")
    assert model_digest(copy) != model_digest(made.path)


def test_a_manifest_of_another_tool_is_a_file_like_any(copy, tiny_model):
    (copy / "manifest.json").write_text("[]")
    assert model_digest(copy) == model_digest(tiny_model)


@pytest.mark.parametrize(
    "prompts",
    [
        {},
        {"query": "q: ", "document": "d: "},
        {"query": "q: ", "passage": "p: "},
        {"corpus": "c: "},
        {"query": None, "document": "d: "},
    ],
)
@pytest.mark.parametrize("default", [None, "query"])
def test_prompts_are_those_sentence_transformers_uses(copy, prompts, default):
    configure(copy, prompts=prompts, default_prompt_name=default if "query" in prompts else None)
    model = SentenceTransformer(str(copy), device="cpu")
    found = read_config(copy).prompts
    for task, method in (("query", model.encode_query), ("document", model.encode_document)):
        assert (method("list file") == method("list file", prompt=found[task])).all()


def test_what_cannot_be_searched_is_told(copy):
    with pytest.raises(ModelError, match="similarity 'manhattan'; only 'cosine' and 'dot'"):
        read_config(configure(copy, similarity_fn_name="manhattan"))
    with pytest.raises(ModelError, match="is a SparseEncoder"):
        read_config(configure(copy, model_type="SparseEncoder"))
    (copy / CONFIG).write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        read_config(copy)
    (copy / CONFIG).write_text("[]")
    with pytest.raises(ModelError, match="should be a JSON object"):
        read_config(copy)
