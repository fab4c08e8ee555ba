import math

import pytest
import torch
from torch.nn.functional import gelu, layer_norm, softmax

from embedkit.modules.layerwise_pooling import LayerwisePooling


def module():
    torch.manual_seed(0)
    return LayerwisePooling(8, layers=3, latents=4, heads=2)


def features(rows=2):
    torch.manual_seed(1)
    hidden = tuple(torch.randn(rows, 5, 8) for _ in range(4))  # the embedding layer, then three
    mask = torch.ones(rows, 5, dtype=torch.long)
    mask[0, 3:] = 0
    return {"all_layer_embeddings": hidden, "attention_mask": mask, "token_embeddings": hidden[-1]}


def by_loop(pooling, hidden, mask):
    """One text, written out from the formula."""
    weights = {name: value.detach() for name, value in pooling.state_dict().items()}

    def norm(x, name):
        return layer_norm(x, (8,), weights[f"{name}.weight"], weights[f"{name}.bias"])

    means = torch.stack([layer[mask.bool()].mean(dim=0) for layer in hidden[1:]]) + weights["positions"]
    latents, context = weights["queries"], norm(means, "layer_norm")
    joint, bias = weights["attention.in_proj_weight"], weights["attention.in_proj_bias"]
    q, k, v = (x @ joint[i * 8 : i * 8 + 8].T + bias[i * 8 : i * 8 + 8]
               for i, x in enumerate((norm(latents, "query_norm"), context, context)))  # fmt: skip
    heads = []
    for head in range(2):
        part = slice(head * 4, head * 4 + 4)
        heads.append(softmax(q[:, part] @ k[:, part].T / math.sqrt(4), dim=-1) @ v[:, part])
    out = torch.cat(heads, dim=1) @ weights["attention.out_proj.weight"].T + weights["attention.out_proj.bias"]
    z = latents + out
    wide = norm(z, "mlp.norm") @ weights["mlp.wide.weight"].T + weights["mlp.wide.bias"]
    z = z + (wide[:, :32] * gelu(wide[:, 32:])) @ weights["mlp.back.weight"].T + weights["mlp.back.bias"]
    return z.mean(dim=0)


def test_the_formula_in_plain_steps():
    pooling, given = module(), features()
    found = pooling(dict(given))["sentence_embedding"]
    for row in range(2):
        hidden = [layer[row] for layer in given["all_layer_embeddings"]]
        torch.testing.assert_close(found[row], by_loop(pooling, hidden, given["attention_mask"][row]))


def test_the_embedding_layer_has_no_say_and_every_other_has():
    pooling, given = module(), features()
    expected = pooling(dict(given))["sentence_embedding"]
    for changed in range(4):
        hidden = tuple(h * (1 + (i == changed)) for i, h in enumerate(given["all_layer_embeddings"]))
        found = pooling({**given, "all_layer_embeddings": hidden})["sentence_embedding"]
        assert ((found - expected).abs().max() > 1e-4) == (changed > 0)


def test_layers_that_are_missing_are_told():
    with pytest.raises(ValueError, match="needs the hidden states of 3 layers, found none"):
        module()({"token_embeddings": torch.randn(1, 2, 8)})
    with pytest.raises(ValueError, match="3 layers, found 2 hidden states"):
        module()({"all_layer_embeddings": (torch.randn(1, 2, 8),) * 2})


def test_a_round_trip(tmp_path):
    pooling = module()
    pooling.save(str(tmp_path))
    again = LayerwisePooling.load(str(tmp_path))
    assert again.get_config_dict() == pooling.get_config_dict()
    assert torch.equal(again(features())["sentence_embedding"], pooling(features())["sentence_embedding"])
    pooling(features())["sentence_embedding"].square().sum().backward()
    assert all(parameter.grad is not None for parameter in pooling.parameters())
