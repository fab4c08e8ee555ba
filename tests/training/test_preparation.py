from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers.models.bert.modeling_bert import BertIntermediate

from embedkit.core.errors import ModelError, StageError
from embedkit.core.estimate import Size
from embedkit.core.stats import read_stats
from embedkit.core.store import digests
from embedkit.training.averaging import NAME, Average
from embedkit.training.lora import LoRA
from embedkit.training.preparation import finish, prepare
from embedkit.training.stage import Train
from embedkit.training.trainer import open_model
from tests.training.runs import TRAIN, run, scored_pairs

SHORT = TRAIN.model_copy(update={"steps": 4})


@pytest.fixture(scope="module")
def pairs(tiny_dataset, tmp_path_factory):
    return scored_pairs(tiny_dataset.path, tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def plain(tiny_model, pairs, tmp_path_factory):
    return run(SHORT, tiny_model, pairs, tmp_path_factory.mktemp("plain"))


def opened(folder, **options):
    """A model, prepared, with a loss that holds it."""
    spec = SHORT.model_copy(update=options)
    model = open_model(folder, spec)
    loss = torch.nn.Module()
    loss.model = model
    prepare(spec, model, loss)
    return spec, model, loss


def test_what_learns_is_float32_and_what_is_frozen_may_be_less(tiny_model):
    options = {"precision": "bf16", "frozen_weights": "bf16"}
    for more in ({"lora": LoRA()}, {"freeze": (r"embeddings", r"layer\.0")}):
        spec, model, loss = opened(tiny_model, **options, **more)
        learns, frozen = ([p for p in model.parameters() if p.requires_grad is which] for which in (True, False))
        assert {p.dtype for p in learns} == {torch.float32}
        assert {p.dtype for p in frozen} == {torch.bfloat16}
        finish(spec, model, loss)
        assert {p.dtype for p in model.parameters()} == {torch.float32}
    _, model, _ = opened(tiny_model, lora=LoRA())
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_layers_run_again_give_the_same_bytes(tiny_model, pairs, plain, tmp_path, monkeypatch):
    forwards = []
    whole = BertIntermediate.forward  # a part of a layer
    monkeypatch.setattr(BertIntermediate, "forward", lambda *args: forwards.append(args[0].training) or whole(*args))
    run(SHORT, tiny_model, pairs, tmp_path / "once")
    once = sum(forwards)
    assert once > 0
    stage = SHORT.model_copy(update={"gradient_checkpointing": True})
    assert digests(run(stage, tiny_model, pairs, tmp_path / "again")) == digests(plain)
    assert sum(forwards) - once == 2 * once
    chunked = {"chunk_size": 8, "chunk_tokens": None}
    both = run(stage.model_copy(update=chunked), tiny_model, pairs, tmp_path / "both")
    alone = run(SHORT.model_copy(update=chunked), tiny_model, pairs, tmp_path / "alone")
    assert digests(both) == digests(alone)


def test_a_model_that_cannot_run_layers_again(tiny_model):
    model = open_model(tiny_model, SHORT)
    type_ = type(model.transformers_model)
    model.transformers_model.__class__ = type("Stiff", (type_,), {"supports_gradient_checkpointing": False})
    with pytest.raises(ModelError, match="gradient_checkpointing: a bert has none"):
        prepare(SHORT.model_copy(update={"gradient_checkpointing": True}), model, torch.nn.Module())


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_is_computed_as_asked_and_not_saved(attention, tiny_model, pairs, plain, tmp_path):
    stage = SHORT.model_copy(update={"attn_implementation": attention})
    assert open_model(tiny_model, stage).transformers_model.config._attn_implementation == attention
    out = run(stage, tiny_model, pairs, tmp_path)
    assert (out / "config.json").read_bytes() == (plain / "config.json").read_bytes()
    losses, expected = ([e["loss"] for e in read_stats(folder)["history"]] for folder in (out, plain))
    assert losses == pytest.approx(expected, rel=1e-4)


def test_attention_that_is_not_installed(tiny_model):
    stage = SHORT.model_copy(update={"attn_implementation": "flash_attention_2", "precision": "bf16"})
    with pytest.raises(ModelError, match=r"(?i)flash"):
        open_model(tiny_model, stage)


def test_frozen_parts_stay_and_others_learn_at_their_rates(tiny_model, pairs, tmp_path):
    stage = SHORT.model_copy(
        update={"freeze": ("embeddings",), "learning_rates": {r"layer\.0\.": 1e-12}, "weight_decay": 0.0}
    )
    before = load_file(tiny_model / "model.safetensors")
    out = run(stage, tiny_model, pairs, tmp_path)
    after = load_file(out / "model.safetensors")
    change = {name: (after[name] - before[name]).abs().max().item() for name in before}
    assert not any(change[name] for name in change if "embeddings" in name)
    assert all(0 <= change[name] < 1e-10 for name in change if "layer.0." in name)
    assert all(change[name] > 1e-4 for name in change if "layer.1." in name and "key.bias" not in name)
    whole, frozen = (sum(w.numel() for n, w in before.items() if part in n) for part in ("", "embeddings"))
    stats = read_stats(out)
    assert stats["learned"] == {"parameters": whole - frozen}
    assert f"{whole - frozen:,} of {whole:,} parameters learned" in stats["summary"][-1]


def test_the_artifact_is_the_average_and_training_does_not_see_it(tiny_model, pairs, plain, tmp_path):
    """The plain mean of the weights after each step, which checkpoints of every step have."""
    stage = SHORT.model_copy(update={"average": Average(decay=None), "checkpoint_every": 1})
    seen = []

    def emit(name, facts):
        if name == "checkpoint_saved":
            folder = tmp_path / "work" / "checkpoints" / f"checkpoint-{facts['step']}"
            seen.append(load_file(folder / "model.safetensors"))

    out = run(stage, tiny_model, pairs, tmp_path, emit)
    assert len(seen) == 4
    last, averaged = load_file(plain / "model.safetensors"), load_file(out / "model.safetensors")
    for name, weight in averaged.items():
        assert torch.equal(seen[-1][name], last[name])
        torch.testing.assert_close(weight, torch.stack([weights[name] for weights in seen]).mean(0))
    assert not all(torch.equal(averaged[name], last[name]) for name in last)
    assert read_stats(out)["history"] == read_stats(plain)["history"]


def test_with_adapters_only_they_are_averaged(tiny_model):
    _, _, loss = opened(tiny_model, lora=LoRA(), average=Average())
    names = [name for name, _ in getattr(loss, NAME).named_buffers() if name != "updates"]
    assert names
    assert all("lora_" in name for name in names)


def test_what_does_not_go_together():
    for fields, message in [
        ({"frozen_weights": "bf16"}, "frozen_weights bf16 needs precision bf16, and lora or freeze"),
        ({"frozen_weights": "bf16", "precision": "bf16"}, "needs precision bf16, and lora or freeze"),
        ({"attn_implementation": "flash_attention_2"}, "flash_attention_2 needs precision bf16"),
        ({"average": {"decay": 1.0}}, "less than 1"),
    ]:
        with pytest.raises(ValidationError, match=message):
            Train(model="m", pairs="p", **fields)


def test_freezing_everything(tiny_model):
    with pytest.raises(StageError, match="nothing is left that learns"):
        prepare(SHORT.model_copy(update={"freeze": (".",)}), open_model(tiny_model, SHORT), SimpleNamespace())


def test_the_estimate_knows_what_is_held_and_run_again():
    sizes = {
        "m": Size(parameters=7 * 10**9, active_parameters=6 * 10**9, dimensions=4096, max_tokens=512),
        "p": Size(pairs=1000, query_tokens=10, document_tokens=100, documents_per_pair=1),
    }

    def of(**fields):
        return Train(model="m", pairs="p", steps=10, batch_size=8, negatives=0, **fields).estimate(sizes)

    plain, adapters = of(chunk_size=1), of(chunk_size=1, lora={})
    again = of(chunk_size=1, lora={}, gradient_checkpointing=True)
    half = of(chunk_size=1, lora={}, precision="bf16", frozen_weights="bf16")
    assert plain.memory > 16 * 7e9
    assert 4 * 7e9 < again.memory < adapters.memory < 6 * 7e9
    assert adapters.memory - half.memory == 2 * 7e9
    assert of(chunk_size=1, average={}).memory - plain.memory == 4 * 7e9
    assert of(lora={}).flops == of().flops * 2 / 3
    assert of(gradient_checkpointing=True).flops == of().flops * 4 / 3


def test_without_padding_where_that_can_be(tiny_model, monkeypatch):
    asked = []

    def loading(*args):
        asked.append(args)
        return [{"use_safetensors": True}]

    monkeypatch.setattr("embedkit.retrieval.loading.model_kwargs", loading)
    open_model(tiny_model, SHORT)
    open_model(tiny_model, SHORT.model_copy(update={"precision": "bf16"}))
    assert [(precision, attention) for _, precision, _, attention in asked] == [
        ("float32", "auto"),
        ("bfloat16", "auto"),
    ]
