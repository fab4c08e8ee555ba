"""What tokens see, on random models of every family: before, after, and after being saved and loaded."""

import pytest
import torch
from transformers import AttentionInterface, AutoModel
from transformers.masking_utils import AttentionMaskInterface

from embedkit.core.errors import ModelError
from embedkit.models.attention import attention_of, set_attention
from embedkit.retrieval.loading import load_model
from tests.tiny_backbones import FAMILIES, build_tiny_decoder


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    return build_tiny_decoder(tmp_path_factory.mktemp(request.param), request.param)


def hidden(model, ids, mask=None):
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids) if mask is None else mask).last_hidden_state


def test_decoders_become_bidirectional_and_stay_so(folder, tmp_path):
    transformer = AutoModel.from_pretrained(folder)
    assert attention_of(transformer) == "causal"
    set_attention(transformer, "bidirectional")
    assert attention_of(transformer) == "bidirectional"
    transformer.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    assert attention_of(again) == "bidirectional"
    set_attention(again, "causal")
    assert attention_of(again) == "causal"


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_leak(folder, implementation, side):
    if implementation == "sdpa" and "gemma2" in str(folder):
        pytest.skip("transformers has no sdpa attention for Gemma 2")
    transformer = AutoModel.from_pretrained(folder, attn_implementation=implementation)
    set_attention(transformer, "bidirectional")
    ids = torch.tensor([[4, 5, 6, 7]])
    alone = hidden(transformer, ids)
    for filler in (0, 9):
        filling, none = torch.full((1, 3), filler), torch.zeros(1, 3, dtype=torch.long)
        parts = [(filling, none), (ids, torch.ones_like(ids))]
        padded, mask = (torch.cat(p, dim=1) for p in zip(*(parts if side == "left" else parts[::-1]), strict=True))
        found = hidden(transformer, padded, mask)
        inside = found[:, 3:] if side == "left" else found[:, :4]
        torch.testing.assert_close(inside, alone, atol=1e-4, rtol=1e-3)


def test_every_token_sees_every_other(folder):
    transformer = AutoModel.from_pretrained(folder)
    set_attention(transformer, "bidirectional")
    ids = torch.tensor([[4, 5, 6, 7]])
    before = hidden(transformer, ids)
    for changed in range(4):
        other = ids.clone()
        other[0, changed] = 20
        moved = (hidden(transformer, other) - before).abs().amax(dim=-1)[0]
        assert (moved > 1e-5).all(), (changed, moved)


def test_an_encoder_is_bidirectional_already(tiny_model):
    transformer = load_model(tiny_model, device="cpu")[0].model
    assert attention_of(transformer) == "bidirectional"
    set_attention(transformer, "bidirectional")
    assert not hasattr(transformer.config, "is_causal")
    with pytest.raises(ModelError, match="bert is an encoder, whose tokens see the whole text; leave `attention` out"):
        set_attention(transformer, "causal")


def test_an_architecture_that_pays_no_heed_is_refused(tmp_path):
    """A decoder whose mask does not ask the configuration."""
    transformer = AutoModel.from_pretrained(build_tiny_decoder(tmp_path))
    heedless = transformer.forward
    transformer.forward = lambda **inputs: heedless(**inputs, is_causal=True)
    with pytest.raises(ModelError, match="qwen3 does not become bidirectional by `is_causal` in its configuration"):
        set_attention(transformer, "bidirectional")


def test_half_an_effect_is_refused(tmp_path):
    """As where only the mask of padded batches asks the configuration."""
    transformer = AutoModel.from_pretrained(build_tiny_decoder(tmp_path))
    given = transformer.forward

    def forward(**inputs):
        return given(**inputs, is_causal=bool(inputs["attention_mask"].all()))

    transformer.forward = forward
    with pytest.raises(
        ModelError, match="only where a batch is padded; this architecture cannot be made bidirectional"
    ):
        attention_of(transformer)


def test_any_implementation_of_attention_is_told(folder):
    """Flash attention, which has no mask where nothing is padded, goes by `is_causal` alone."""
    heard = []

    def listening(module, query, key, value, attention_mask, is_causal=None, **_):
        heard.append((is_causal, attention_mask))
        return torch.zeros_like(query).transpose(1, 2), None

    AttentionInterface.register("listening", listening)
    transformer = AutoModel.from_pretrained(folder)
    set_attention(transformer, "bidirectional")
    transformer.config._attn_implementation = "listening"
    AttentionMaskInterface.register("listening", AttentionMaskInterface()["flash_attention_2"])
    hidden(transformer, torch.tensor([[4, 5, 6, 7]]))
    assert heard == [(False, None)] * transformer.config.num_hidden_layers
