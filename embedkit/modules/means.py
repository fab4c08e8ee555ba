"""The mean over the tokens of a text, however the texts of a batch lie side by side."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

Features = Mapping[str, Any]


def mean_over_tokens(tokens: Tensor, features: Features, *, include_prompt: bool = True) -> Tensor:
    """(B, D) means, summed in float32 or finer; zero for a text without tokens.

    The token vectors are padded on either side, (B, T, D), or end to end without padding, (1, S, D) with
    `cu_seq_lens_q` as flash attention has it.
    """
    skipped = 0 if include_prompt else prompt_tokens(features)
    if "cu_seq_lens_q" in features:
        return _over_flat(tokens[0], features["cu_seq_lens_q"], skipped).to(tokens.dtype)
    mask = features.get("attention_mask")
    if mask is None:
        mask = torch.ones(tokens.shape[:2], device=tokens.device)
    counted = mask.bool() & (mask.cumsum(dim=1) > skipped)  # a text's own positions, wherever its padding is
    weights = counted.unsqueeze(-1)
    total = _wide(tokens).masked_fill(~weights, 0.0).sum(dim=1)
    return (total / weights.sum(dim=1).clamp(min=1)).to(tokens.dtype)


def prompt_tokens(features: Features) -> int:
    """How many tokens of each text are its prompt, as sentence-transformers' `Transformer` tells; 0 if it does not."""
    found = features.get("prompt_length", 0)
    return int(found.flatten()[0]) if isinstance(found, Tensor) else int(found or 0)


def _over_flat(tokens: Tensor, bounds: Tensor, skipped: int) -> Tensor:
    bounds = bounds.long()
    lengths = bounds.diff()
    text = torch.repeat_interleave(torch.arange(len(lengths), device=tokens.device), lengths, output_size=len(tokens))
    counted = torch.arange(len(tokens), device=tokens.device) - bounds[text] >= skipped
    wide = _wide(tokens).masked_fill(~counted.unsqueeze(-1), 0.0)
    total = wide.new_zeros(len(lengths), tokens.shape[-1]).index_add(0, text, wide)
    return total / (lengths - skipped).clamp(min=1).unsqueeze(-1)


def _wide(tokens: Tensor) -> Tensor:
    return tokens.to(torch.promote_types(tokens.dtype, torch.float32))
