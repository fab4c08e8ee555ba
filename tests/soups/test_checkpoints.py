"""Model folders side by side."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from embedkit.core.errors import ModelError
from embedkit.core.store import digests
from embedkit.retrieval.loading import load_model
from embedkit.soups.checkpoints import Checkpoint, check_agreement, write_merged
from embedkit.soups.methods import TaskArithmetic, Uniform, merge_tensors

WEIGHTS = "model.safetensors"


@pytest.fixture
def copies(tiny_model, other_tiny_model, tmp_path):
    """Two models that differ in weights alone, in folders a test may change."""
    return [shutil.copytree(m, tmp_path / n) for m, n in ((tiny_model, "one"), (other_tiny_model, "two"))]


def opened(folders):
    return [Checkpoint.open(folder, folder.name) for folder in folders]


def merge_to(out, members, base=None, method=None):
    out.mkdir()
    merge = method or Uniform()
    write_merged(members, base, out, lambda name, tensors, b: merge_tensors(merge, tensors, b, name))
    return out


def change_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_weights(folder, **changes):
    tensors = load_file(folder / WEIGHTS)
    save_file({k: v for k, v in (tensors | changes).items() if v is not None}, folder / WEIGHTS, {"format": "pt"})


def test_the_merged_model_is_the_mean_and_loads(copies, tmp_path):
    members = opened(copies)
    check_agreement(members)
    out = merge_to(tmp_path / "out", members)
    merged, first, second = (load_file(folder / WEIGHTS) for folder in (out, *copies))
    assert merged.keys() == first.keys()
    assert len(merged) > 10
    assert all(torch.allclose(merged[n], (first[n] + second[n]) / 2, atol=1e-7) for n in merged)
    assert any(not torch.equal(first[n], second[n]) for n in merged)
    embeddings = load_model(out, device="cpu").encode(["list file", "show page"])
    assert embeddings.shape == (2, 32)


def test_a_soup_of_a_model_with_itself_is_that_model_file_for_file(tiny_model, tmp_path):
    members = opened([tiny_model, tiny_model])
    check_agreement(members)
    assert digests(merge_to(tmp_path / "out", members)) == digests(tiny_model)


def test_the_same_soup_has_the_same_bytes(copies, tmp_path):
    first, second = (merge_to(tmp_path / name, opened(copies)) for name in ("a", "b"))
    assert digests(first) == digests(second)


def test_what_describes_one_member_is_not_copied(copies, tmp_path):
    for name in ("README.md", "manifest.json", "stats.json", "pytorch_model.bin"):
        (copies[0] / name).write_text("{}")
    (copies[0] / "onnx").mkdir()
    (copies[0] / "onnx" / "model.onnx").write_text("weights of one member")
    out = merge_to(tmp_path / "out", opened(copies))
    names = {path.name for path in out.rglob("*")}
    assert names.isdisjoint({"README.md", "manifest.json", "stats.json", "pytorch_model.bin", "model.onnx"})
    assert {"modules.json", "tokenizer.json", "config.json"} <= names


def test_members_may_be_cut_into_files_differently(copies, tmp_path):
    whole = merge_to(tmp_path / "whole", opened(copies))
    tensors = load_file(copies[1] / WEIGHTS)
    names = sorted(tensors)
    (copies[1] / WEIGHTS).unlink()
    save_file({n: tensors[n] for n in names[:5]}, copies[1] / "model-00001-of-00002.safetensors")
    save_file({n: tensors[n] for n in names[5:]}, copies[1] / "model-00002-of-00002.safetensors")
    assert digests(merge_to(tmp_path / "cut", opened(copies)))[WEIGHTS] == digests(whole)[WEIGHTS]


def test_integer_buffers_are_copied_and_must_be_equal(copies, tmp_path):
    ids = torch.arange(8)
    change_weights(copies[0], **{"embeddings.position_ids": ids})
    members = opened(copies)
    check_agreement(members)  # a buffer that one model lacks is not learned, so it does not matter
    merged = load_file(merge_to(tmp_path / "out", members) / WEIGHTS)
    assert torch.equal(merged["embeddings.position_ids"], ids)
    change_weights(copies[1], **{"embeddings.position_ids": ids + 1})
    with pytest.raises(ModelError, match=r"integer buffer embeddings.position_ids differs"):
        check_agreement(opened(copies))


def test_a_base_may_be_of_another_type_and_gives_what_members_learned(copies, tiny_model, tmp_path):
    base = shutil.copytree(tiny_model, tmp_path / "base")
    tensors = load_file(base / WEIGHTS)
    save_file({n: t.to(torch.float16) for n, t in tensors.items()}, base / WEIGHTS, {"format": "pt"})
    members, start = opened(copies), Checkpoint.open(base, "base")
    check_agreement(members, start)
    out = merge_to(tmp_path / "out", members, start, TaskArithmetic(base="base", scale=0.0))
    merged = load_file(out / WEIGHTS)
    assert all(torch.equal(merged[n], tensors[n].half().float()) for n in merged)


NAME = "encoder.layer.0.output.dense.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: change_weights(f, **{NAME: None}), rf"{NAME} is F32 \[32, 64\] in one and none"),
        (lambda f: change_weights(f, **{NAME: torch.zeros(32, 32)}), r"\[32, 32\]"),
        (lambda f: change_weights(f, **{NAME: torch.zeros(32, 64, dtype=torch.float16)}), r"F16"),
        (lambda f: change_weights(f, extra=torch.zeros(3)), "extra is none in one and F32"),
    ],
    ids=["missing", "shape", "type", "extra"],
)
def test_tensors_must_agree(copies, change, message):
    change(copies[1])
    with pytest.raises(ModelError, match=message) as caught:
        check_agreement(opened(copies))
    assert "one and two cannot be merged" in str(caught.value)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("config_sentence_transformers.json", {"prompts": {"query": "q: ", "document": ""}}, "prompts is .* 'q: '"),
        ("config_sentence_transformers.json", {"similarity_fn_name": "dot"}, "similarity"),
        ("1_Pooling/config.json", {"pooling_mode": "cls"}, "1 Pooling.pooling_mode is 'mean' in one and 'cls'"),
        ("config.json", {"hidden_act": "relu"}, "config.hidden_act is 'gelu' in one and 'relu'"),
        ("tokenizer_config.json", {"model_max_length": 16}, "max_seq_length is 32 in one and 16"),
    ],
)
def test_settings_must_agree(copies, file, changes, message):
    change_json(copies[1] / file, **changes)
    with pytest.raises(ModelError, match=message):
        check_agreement(opened(copies))


def test_vocabularies_must_agree(copies):
    path = copies[1] / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["list"], vocabulary["show"] = vocabulary["show"], vocabulary["list"]
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(ModelError, match="tokenizer vocabulary"):
        check_agreement(opened(copies))


def test_towers_one_of_which_is_static_are_merged_and_their_vocabularies_compared(tiny_model, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    model = load_model(tiny_model, device="cpu")
    static = StaticEmbedding(model.tokenizer.backend_tokenizer, embedding_dim=32)
    towers = SentenceTransformer(modules=[Router.for_query_document([static], list(model))], device="cpu")
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        towers.save(str(folder), create_model_card=False)
    members = opened(folders)
    check_agreement(members)
    assert load_model(merge_to(tmp_path / "out", members), device="cpu").encode_query(["list"]).shape == (1, 32)
    (path,) = folders[1].glob("query_0*/tokenizer.json")
    path.write_text(path.read_text().replace('"show"', '"shown"'))
    with pytest.raises(ModelError, match="tokenizer vocabulary"):
        check_agreement(opened(folders))


def test_an_adapter_beside_the_weights_is_refused(copies):
    """A mean of A and a mean of B do not make the mean of B A."""
    from peft import LoraConfig

    model = load_model(copies[1], device="cpu")
    model.add_adapter(LoraConfig(r=2, target_modules=["query"]))
    model.transformers_model.save_pretrained(copies[1])
    with pytest.raises(
        ModelError, match=r"two: .* has an adapter beside its weights; train it with `lora.merge: true`"
    ):
        opened(copies)


def test_provenance_may_differ(copies):
    change_json(copies[1] / "config.json", transformers_version="4.0.0", _name_or_path="elsewhere")
    check_agreement(opened(copies))


def test_damaged_weights_are_refused(copies, tmp_path):
    change_weights(copies[1], **{NAME: torch.full((32, 64), torch.nan)})
    with pytest.raises(ModelError, match=f"{NAME} is not finite"):
        merge_to(tmp_path / "out", opened(copies))
    (copies[1] / WEIGHTS).write_bytes((copies[1] / WEIGHTS).read_bytes()[:5000])
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        opened(copies)


def test_a_folder_without_safetensors_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"m: .* has no \.safetensors file"):
        Checkpoint.open(tmp_path, "m")
