"""The mean over tokens, beside sentence-transformers' own and a plain loop."""

import pytest
import torch
from sentence_transformers.sentence_transformer.modules import Pooling

from embedkit.modules.means import mean_over_tokens, prompt_tokens

LENGTHS = (5, 2, 3)


def padded(side, prompt=0):
    torch.manual_seed(0)
    tokens = torch.randn(3, 6, 4)
    mask = torch.zeros(3, 6, dtype=torch.long)
    for row, length in enumerate(LENGTHS):
        mask[row, 6 - length :] = 1
    if side == "right":
        mask = mask.flip(1)
    return tokens, {"attention_mask": mask, **({"prompt_length": prompt} if prompt else {})}


def by_loop(tokens, mask, skipped):
    means = []
    for row, inside in zip(tokens, mask.bool(), strict=True):
        own = row[inside][skipped:]
        means.append(own.mean(dim=0) if len(own) else torch.zeros(row.shape[1]))
    return torch.stack(means)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("prompt", "include"), [(0, True), (1, True), (1, False), (2, False)])
def test_padding_and_prompts(side, prompt, include):
    tokens, features = padded(side, prompt)
    found = mean_over_tokens(tokens, features, include_prompt=include)
    expected = by_loop(tokens, features["attention_mask"], 0 if include else prompt)
    torch.testing.assert_close(found, expected)
    if include or prompt < min(LENGTHS):
        pooling = Pooling(4, "mean", include_prompt=include)
        torch.testing.assert_close(found, pooling({"token_embeddings": tokens, **features})["sentence_embedding"])


@pytest.mark.parametrize("prompt", [0, 1])
def test_without_padding(prompt):
    """End to end, as flash attention has it."""
    tokens, features = padded("right", prompt)
    inside = features["attention_mask"].bool()
    bounds = torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0).tolist()], dtype=torch.int32)
    flat = {"cu_seq_lens_q": bounds, **({"prompt_length": torch.tensor([prompt])} if prompt else {})}
    found = mean_over_tokens(tokens[inside][None], flat, include_prompt=False)
    torch.testing.assert_close(found, by_loop(tokens, inside, prompt))


def test_no_mask_is_no_padding():
    tokens, _ = padded("right")
    torch.testing.assert_close(mean_over_tokens(tokens, {}), tokens.mean(dim=1))


def test_half_precision_is_summed_in_full():
    tokens = torch.full((1, 4096, 1), 1.0, dtype=torch.bfloat16)
    assert mean_over_tokens(tokens, {}).item() == 1.0
    assert mean_over_tokens(tokens, {}).dtype == torch.bfloat16
    assert mean_over_tokens(tokens.double(), {}).dtype == torch.float64


def test_what_padding_holds_is_of_no_consequence():
    tokens, features = padded("right")
    expected = mean_over_tokens(tokens, features)
    spoilt = tokens.masked_fill(~features["attention_mask"].bool()[:, :, None], float("nan"))
    torch.testing.assert_close(mean_over_tokens(spoilt, features), expected)


def test_a_prompts_length_comes_in_three_shapes():
    assert prompt_tokens({}) == 0
    assert prompt_tokens({"prompt_length": 3}) == 3
    assert prompt_tokens({"prompt_length": torch.tensor([3, 3])}) == 3
