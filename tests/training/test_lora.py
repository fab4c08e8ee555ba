import json
import math
import re

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from embedkit.core.errors import ModelError
from embedkit.core.store import digests
from embedkit.retrieval.loading import load_model
from embedkit.retrieval.model_folder import describe
from embedkit.training.lora import LoRA, adapted, add_adapter
from embedkit.training.stage import Train
from embedkit.training.trainer import open_model
from tests.training.runs import TRAIN, run, scored_pairs

TEXTS = ["list copy file", "a network service log", "image"]
KEPT = re.compile(r"\.lora_(A|B|magnitude_vector)")


def stage(**options):
    return TRAIN.model_copy(update={"steps": 3, "learning_rate": 1e-2, "lora": LoRA(**options)})


@pytest.fixture(scope="module")
def pairs(tiny_dataset, tmp_path_factory):
    return scored_pairs(tiny_dataset.path, tmp_path_factory.mktemp("pairs"))


@pytest.mark.parametrize("options", [{}, {"dora": True, "targets": ("query", "value")}], ids=str)
def test_only_adapters_learn(options, tiny_model):
    model = open_model(tiny_model, stage(**options))
    learns = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learns
    assert all(KEPT.search(name) for name in learns)
    assert learns == {name for name, _ in model.named_parameters() if KEPT.search(name)}
    targets = {name.split(".lora_")[0].rpartition(".")[2] for name in learns}
    assert targets == (set(options["targets"]) if options else {"query", "key", "value", "dense"})


def test_a_fresh_adapter_changes_nothing_and_is_drawn_by_the_seed(tiny_model):
    plain = load_model(tiny_model, device="cpu").encode(TEXTS)
    first, again, other = (open_model(tiny_model, stage().model_copy(update={"seed": seed})) for seed in (1, 1, 2))
    assert (first.encode(TEXTS) == plain).all()
    states = [model.state_dict() for model in (first, again, other)]
    drawn = [name for name in states[0] if "lora_A" in name]
    assert drawn
    assert all(torch.equal(states[0][name], states[1][name]) for name in drawn)
    assert not any(torch.equal(states[0][name], states[2][name]) for name in drawn)


def test_the_process_keeps_its_randomness(tiny_model):
    before = torch.get_rng_state()
    open_model(tiny_model, stage())
    assert torch.equal(torch.get_rng_state(), before)


def test_auto_targets_are_those_of_the_architecture(tiny_model):
    model = open_model(tiny_model, stage(targets="auto"))
    names = [name for name, _ in model.named_parameters() if "lora_A" in name]
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in names} == {"query", "value"}


@pytest.mark.parametrize("rslora", [False, True])
def test_merged_weights_are_those_of_the_adapter_added(rslora, tiny_model, pairs, tmp_path):
    """Two artifacts of one training, merged and not: W + s B A, in float64."""
    options = {"rank": 4, "alpha": 6.0, "rslora": rslora}
    merged = load_file(run(stage(**options), tiny_model, pairs, tmp_path / "a") / "model.safetensors")
    apart = run(stage(**options, merge=False), tiny_model, pairs, tmp_path / "b")
    before, adapter = load_file(tiny_model / "model.safetensors"), load_file(apart / "adapter_model.safetensors")
    after = load_file(apart / "model.safetensors")
    assert before.keys() == after.keys() == merged.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    scale = 6.0 / (math.sqrt(4) if rslora else 4)
    changed = []
    for name, weight in before.items():
        key = "base_model.model." + name.removesuffix(".weight")
        if f"{key}.lora_A.weight" not in adapter:
            assert torch.equal(merged[name], weight), name
            continue
        delta = scale * adapter[f"{key}.lora_B.weight"].double() @ adapter[f"{key}.lora_A.weight"].double()
        torch.testing.assert_close(merged[name].double(), weight.double() + delta, rtol=0, atol=1e-6)
        changed.append(delta.abs().max().item())
    assert len(changed) == 13  # six layers in each of two blocks, and a pooler that mean pooling does not use
    assert sum(value > 1e-3 for value in changed) == 12


@pytest.mark.parametrize("dora", [False, True])
def test_a_merged_model_and_one_with_its_adapter_beside_it_embed_alike(dora, tiny_model, pairs, tmp_path):
    merged = run(stage(dora=dora), tiny_model, pairs, tmp_path / "a")
    apart = run(stage(dora=dora, merge=False), tiny_model, pairs, tmp_path / "b")
    assert digests(merged).keys() == digests(tiny_model).keys() | {"stats.json"}
    assert digests(apart).keys() == digests(merged).keys() | {"adapter_config.json", "adapter_model.safetensors"}
    expected, found = (load_model(folder, device="cpu").encode(TEXTS) for folder in (merged, apart))
    assert abs(expected - found).max() < 1e-6
    assert abs(expected - load_model(tiny_model, device="cpu").encode(TEXTS)).max() > 1e-2
    config = json.loads((apart / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "."
    assert describe(apart).parameters > describe(merged).parameters
    with pytest.raises((OSError, ValueError), match="model"):  # rather than open the model without its adapter
        SentenceTransformer(str(apart), device="cpu")


def test_adapted_and_merged_are_the_same_function(tiny_model):
    from embedkit.retrieval.adapters import unload

    model = open_model(tiny_model, stage(rank=4))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    expected = model.encode(TEXTS)
    unload(adapted(model), merge=True)
    assert abs(model.encode(TEXTS) - expected).max() < 1e-6
    assert adapted(model) is None
    assert model.state_dict().keys() == load_model(tiny_model, device="cpu").state_dict().keys()


def test_a_model_with_an_adapter_can_be_trained_on_without_one(tiny_model, pairs, tmp_path):
    apart = run(stage(merge=False), tiny_model, pairs, tmp_path / "a")
    after = run(TRAIN.model_copy(update={"steps": 2}), apart, pairs, tmp_path / "b")
    assert digests(after).keys() == digests(tiny_model).keys() | {"stats.json"}
    with pytest.raises(ModelError, match="has an adapter beside its weights"):
        open_model(apart, stage())


def test_mistakes_in_targets(tiny_model):
    with pytest.raises(
        ModelError, match=r"no layer's name ends in 'q_proj'; there are \['LayerNorm', |there are \['dense"
    ):
        open_model(tiny_model, stage(targets=("query", "q_proj")))
    with pytest.raises(ModelError, match="ends in 'qery'; did you mean 'query'"):
        open_model(tiny_model, stage(targets=("qery",)))
    with pytest.raises(ValidationError, match="at least 1 item"):
        Train(model="m", pairs="p", lora={"targets": []})


def test_a_model_without_a_transformer(tiny_model, tmp_path):
    tokenizer = Tokenizer(WordLevel({"list": 0, "[UNK]": 1}, unk_token="[UNK]"))
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=4)], device="cpu").save(
        str(tmp_path / "static"), create_model_card=False
    )
    model = load_model(tmp_path / "static", device="cpu")
    with pytest.raises(ModelError, match="the model has 0 transformers, and an adapter goes on one"):
        add_adapter(model, LoRA(), folder=tmp_path / "static", seed=0)
