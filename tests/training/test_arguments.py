import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers.optimization import Adafactor as TheirAdafactor

from embedkit.core.errors import StageError
from embedkit.training import optimizers
from embedkit.training.arguments import training_arguments
from embedkit.training.optimizers import Adafactor, AdamW
from embedkit.training.stage import Train


@pytest.fixture(scope="module")
def model(tiny_model):
    return SentenceTransformer(str(tiny_model), device="cpu")


def made(model, folder, **fields):
    spec = Train(model="m", pairs="p", **fields)
    return training_arguments(spec, model, folder, steps=100, batch_size=1, batch_sampler="batch_sampler")


def test_the_defaults_are_adamw_and_a_linear_schedule(model, tmp_path):
    found = made(model, tmp_path)
    assert (found.optim, found.adam_beta1, found.adam_beta2) == ("adamw_torch_fused", 0.9, 0.999)
    assert found.adam_epsilon == 1e-8
    assert (found.lr_scheduler_type, found.lr_scheduler_kwargs, found.warmup_steps) == ("linear", {}, 10)
    assert (found.learning_rate, found.weight_decay, found.max_grad_norm) == (5e-5, 0.01, 1.0)
    assert found.learning_rate_mapping == {}
    assert not found.bf16


def test_options_become_arguments(model, tmp_path):
    found = made(
        model,
        tmp_path,
        schedule={"kind": "wsd", "decay": 0.2, "minimum": 0.1},
        optimizer={"kind": "adamw", "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-6},
        warmup_steps=7,
        precision="bf16",
    )
    assert found.lr_scheduler_type == "warmup_stable_decay"
    assert found.lr_scheduler_kwargs == {"num_decay_steps": 20, "decay_type": "1-sqrt", "min_lr_ratio": 0.1}
    assert found.warmup_steps == 7
    assert (found.adam_beta1, found.adam_beta2, found.adam_epsilon) == (0.8, 0.95, 1e-6)
    assert found.bf16


def test_optimizers_are_those_of_the_trainer(model, tmp_path):
    from transformers import Trainer

    for spec, expected in ((AdamW(), torch.optim.AdamW), (Adafactor(), TheirAdafactor)):
        kind, arguments = Trainer.get_optimizer_cls_and_kwargs(made(model, tmp_path, optimizer=spec))
        assert kind is expected
        assert arguments["lr"] == 5e-5
    assert made(model, tmp_path, optimizer="adafactor").optim == "adafactor"


def test_eight_bits_need_their_library(monkeypatch):
    monkeypatch.setattr(optimizers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StageError, match="optimizer adamw: bits 8 needs `pip install bitsandbytes`"):
        AdamW(bits=8).arguments()
    monkeypatch.setattr(optimizers.importlib.util, "find_spec", lambda name: "there")
    assert AdamW(bits=8).arguments()["optim"] == "adamw_bnb_8bit"
