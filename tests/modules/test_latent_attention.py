import math

import pytest
import torch

from embedkit.modules.latent_attention import LatentAttention, look_up

TOKENS = torch.tensor([[[0.0, 0.0], [10.0, 0.0]]])


def test_the_papers_formula_in_numbers():
    found = look_up(TOKENS, torch.eye(2), heads=1, scaled=False)
    expected = torch.tensor([[[0.5, 0.5], [0.999955, 0.000045]]])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.mean(dim=1), torch.tensor([[0.749977, 0.250023]]), atol=1e-6, rtol=0)
    scaled = look_up(TOKENS, torch.eye(2), heads=1, scaled=True)
    torch.testing.assert_close(scaled[0, 1], torch.tensor([0.999151, 0.000849]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("scaled", [True, False])
def test_heads_in_plain_loops(heads, scaled):
    torch.manual_seed(0)
    tokens, latents = torch.randn(2, 3, 8), torch.randn(5, 8)
    found, width = look_up(tokens, latents, heads=heads, scaled=scaled), 8 // heads
    for text in range(2):
        for token in range(3):
            for head in range(heads):
                part = slice(head * width, (head + 1) * width)
                query = tokens[text, token, part]
                logits = [float(query @ key[part]) / (math.sqrt(width) if scaled else 1) for key in latents]
                total = sum(map(math.exp, logits))
                expected = sum(math.exp(x) / total * key[part] for x, key in zip(logits, latents, strict=True))
                torch.testing.assert_close(found[text, token, part], expected)


def module(**options):
    torch.manual_seed(1)
    return LatentAttention(8, latents=5, heads=2, **options)


def test_the_mean_is_of_what_the_mlp_makes_of_each_token():
    pooling = module()
    tokens, mask = torch.randn(2, 4, 8), torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    found = pooling({"token_embeddings": tokens, "attention_mask": mask})["sentence_embedding"]
    for text, length in ((0, 3), (1, 2)):
        looked_up = look_up(tokens[text : text + 1, :length], pooling.values, heads=2, scaled=True)
        torch.testing.assert_close(found[text], pooling.mlp(looked_up)[0].mean(dim=0))


def test_instructions_are_left_out_of_the_mean():
    tokens, mask = torch.randn(1, 5, 8), torch.ones(1, 5)
    whole = {"token_embeddings": tokens, "attention_mask": mask, "prompt_length": 2}
    rest = {"token_embeddings": tokens[:, 2:], "attention_mask": mask[:, 2:]}
    expected = module()(dict(rest))["sentence_embedding"]
    torch.testing.assert_close(module()(dict(whole))["sentence_embedding"], expected)
    with_prompt = module(include_prompt=True)(dict(whole))["sentence_embedding"]
    assert (with_prompt - expected).abs().max() > 1e-3


def test_all_of_it_learns():
    pooling = module()
    pooling({"token_embeddings": torch.randn(2, 3, 8)})["sentence_embedding"].square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in pooling.parameters())


@pytest.mark.parametrize("options", [{}, {"scaled": False, "include_prompt": True}])
def test_a_round_trip(tmp_path, options):
    pooling = module(**options)
    pooling.save(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    again = LatentAttention.load(str(tmp_path))
    assert again.get_config_dict() == pooling.get_config_dict()
    assert again.get_embedding_dimension() == 8
    tokens = torch.randn(1, 3, 8)
    found = [one({"token_embeddings": tokens, "prompt_length": 1})["sentence_embedding"] for one in (pooling, again)]
    assert torch.equal(*found)
