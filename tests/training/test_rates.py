import re

import pytest
from pydantic import ValidationError
from sentence_transformers import SentenceTransformer
from torch import nn

from embedkit.core.errors import StageError
from embedkit.training.rates import freeze, learning_rates
from embedkit.training.stage import Train


class Loss(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model
        self.classifier = nn.Linear(4, 2)


@pytest.fixture
def loss(tiny_model):
    return Loss(SentenceTransformer(str(tiny_model), device="cpu"))


def rate_of(loss, **options):
    """The learning rate of every parameter, as the trainer's mapping gives it, in plain loops."""
    options = {"rate": 1.0, "by_pattern": {}, "layer_decay": None} | options
    mapping = learning_rates(loss, **options)
    found = {}
    for name, _ in loss.named_parameters():
        rates = [rate for pattern, rate in mapping.items() if re.search(pattern, name)]
        assert len(rates) <= 1
        found[name.removeprefix("model.")] = rates[0] if rates else 1.0
    return found


def test_without_options_there_is_one_rate(loss):
    assert learning_rates(loss, rate=1.0, by_pattern={}, layer_decay=None) == {}


def test_rates_by_pattern_the_last_that_matches_wins(loss):
    rates = rate_of(loss, by_pattern={r"encoder": 0.5, r"layer\.1\.": 0.25, r"^classifier": 2.0})
    for name, rate in rates.items():
        layer1, encoder, classifier = ".layer.1." in name, ".encoder." in name, name.startswith("classifier")
        assert rate == (0.25 if layer1 else 0.5 if encoder else 2.0 if classifier else 1.0), name


def test_rates_decay_from_layer_to_layer(loss):
    rates = rate_of(loss, layer_decay=0.5, by_pattern={r"layer\.0\..*query": 3.0})
    for name, rate in rates.items():
        if ".layer.0." in name:
            assert rate == (3.0 if "query" in name else 0.25)
        elif ".layer.1." in name:
            assert rate == 0.5
        else:
            assert rate == (0.125 if ".embeddings." in name else 1.0), name
    assert set(rates.values()) == {3.0, 0.25, 0.5, 0.125, 1.0}


def test_layers_of_other_architectures():
    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed_tokens = nn.Embedding(3, 2)
            self.layers = nn.ModuleList([nn.Linear(2, 2, bias=False) for _ in range(12)])
            self.norm = nn.LayerNorm(2)

    loss = nn.Module()
    mixing, deep = nn.Module(), nn.Module()
    mixing.layer_embedding, deep.blocks = nn.Embedding(12, 2), nn.ModuleList([nn.Linear(2, 2)])
    loss.model = nn.Sequential(Decoder(), mixing, deep)
    loss.model[0].layers[11].requires_grad_(False)
    rates = rate_of(loss, layer_decay=0.9)
    assert rates["0.embed_tokens.weight"] == pytest.approx(0.9**13)
    assert [rates[f"0.layers.{layer}.weight"] for layer in range(11)] == pytest.approx(
        [0.9 ** (12 - layer) for layer in range(11)]
    )
    assert rates["0.norm.weight"] == 1.0
    assert {rate for name, rate in rates.items() if not name.startswith("0.")} == {1.0}


def test_freeze(loss):
    freeze(loss.model, (r"embeddings", r"layer\.0\."))
    learns = {name: p.requires_grad for name, p in loss.model.named_parameters()}
    assert learns == {name: not ("embeddings" in name or ".layer.0." in name) for name in learns}
    assert any(learns.values())


def test_mistakes(loss):
    where = r"there are 0\.(auto_)?model\.encoder\.layer\.\*\.attention\.self\.query"
    with pytest.raises(
        StageError, match=r"freeze: 'encoder\.layers\.0\.attention\.self\.query' matches no par.*" + where
    ):
        freeze(loss.model, ["encoder.layers.0.attention.self.query"])
    with pytest.raises(StageError, match=r"learning_rates: 'pooling_head' matches no parameter that learns"):
        rate_of(loss, by_pattern={"pooling_head": 1.0})
    with pytest.raises(StageError, match="nothing is left that learns"):
        freeze(loss.model, ["."])
    with pytest.raises(StageError, match="layer_decay: the model has no embeddings below numbered layers"):
        rate_of(nn.Linear(2, 2), layer_decay=0.9)
    with pytest.raises(ValidationError, match=r"'\(' is not a regular expression"):
        Train(model="m", pairs="p", freeze=["("])
