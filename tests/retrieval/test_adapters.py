import json
import shutil

import pytest
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from embedkit.core.errors import ModelError
from embedkit.retrieval.adapters import adapter_of, without_adapter
from embedkit.retrieval.loading import check_folder, load_model


@pytest.fixture
def adapter(tiny_model, tmp_path):
    """A model folder with an adapter beside its weights, not of embedkit's making."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    model = load_model(tiny_model, device="cpu")
    model.add_adapter(LoraConfig(r=2, init_lora_weights=False, target_modules=["query"]))
    model.transformers_model.save_pretrained(folder)
    return folder


def test_an_adapter_is_merged_when_the_model_is_loaded(adapter, tiny_model):
    before, after = (load_model(folder, device="cpu").state_dict() for folder in (tiny_model, adapter))
    config, found = (
        json.loads((adapter / "adapter_config.json").read_text()),
        load_file(adapter / "adapter_model.safetensors"),
    )
    assert before.keys() == after.keys()
    for name, weight in before.items():
        expected = weight
        if name.endswith("query.weight"):
            key = "base_model.model." + name.removesuffix(".weight").split("model.", 1)[1]
            scale = config["lora_alpha"] / config["r"]
            expected = weight + scale * found[f"{key}.lora_B.weight"] @ found[f"{key}.lora_A.weight"]
            assert not expected.equal(weight)
        assert (after[name] - expected).abs().max() < 1e-6


def test_loading_draws_no_random_numbers_and_leaves_the_folder_as_it_is(adapter):
    import torch

    from embedkit.core.store import digests

    state, files = torch.get_rng_state(), digests(adapter)
    load_model(adapter, device="cpu")
    assert torch.equal(torch.get_rng_state(), state)
    assert digests(adapter) == files


def test_a_folder_without_its_adapter(adapter, tiny_model):
    with without_adapter(adapter, adapter) as plain:
        assert not list(plain.rglob("adapter*"))
        assert {p.relative_to(plain) for p in plain.rglob("*")} == {
            p.relative_to(tiny_model) for p in tiny_model.rglob("*")
        }
    with without_adapter(tiny_model, adapter_of(tiny_model)) as same:
        assert same == tiny_model


def test_adapters_that_are_refused(adapter):
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "PROMPT_TUNING"}))
    with pytest.raises(ModelError, match="peft_type should be 'LORA'"):
        check_folder(adapter)
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"modules_to_save": ["pooler"]}))
    with pytest.raises(ModelError, match="modules_to_save has weights of its own beside those of low rank; merge the"):
        check_folder(adapter)
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    found = load_file(adapter / "adapter_model.safetensors")
    save_file(dict(list(found.items())[1:]), adapter / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="is not of this adapter"):
        load_model(adapter, device="cpu")
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"has no adapter_model\.safetensors"):
        check_folder(adapter)
    (adapter / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="an adapter without its base model"):
        check_folder(adapter)
