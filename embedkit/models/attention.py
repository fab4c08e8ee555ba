"""Whether the tokens of a text see those that come after them."""

from typing import Any, Final, Literal

import torch

from embedkit.core.errors import ModelError

Attention = Literal["causal", "bidirectional"]
_LENGTH: Final = 4
_ROUNDING: Final = 8  # times the precision of the numbers


def attention_of(transformer: Any) -> Attention:
    """What the attention of a transformers model is, found by changing the last of four tokens, with and without
    padding beside them. Raises `ModelError` if some inputs are read the one way and some the other."""
    seen = {side: _sees_ahead(transformer, side) for side in (None, "left", "right")}
    if len(set(seen.values())) > 1:
        raise ModelError(
            f"{transformer.config.model_type}: tokens see those after them only where a batch is "
            f"{'padded' if not seen[None] else 'not padded'}; this architecture cannot be made bidirectional"
        )
    return "bidirectional" if seen[None] else "causal"


def set_attention(transformer: Any, wanted: Attention) -> None:
    """Make the attention of a transformers model what is wanted, now and wherever it is saved to and loaded from.

    `is_causal` in the configuration is what transformers (5.2 or later) makes masks by and tells every attention, be it
    eager, sdpa or flash. Raises `ModelError` for an architecture that pays no heed to it.
    """
    found = attention_of(transformer)
    if found == wanted:
        return
    kind = transformer.config.model_type
    if wanted == "causal" and getattr(transformer.config, "is_causal", True):
        raise ModelError(f"attention: {kind} is an encoder, whose tokens see the whole text; leave `attention` out")
    transformer.config.is_causal = wanted == "causal"
    if attention_of(transformer) != wanted:
        raise ModelError(
            f"attention: {kind} does not become {wanted} by `is_causal` in its configuration, as Qwen, Llama, Mistral, "
            "Gemma and Phi models do; choose one of those, or leave `attention` out"
        )


@torch.inference_mode()
def _sees_ahead(transformer: Any, padding: str | None) -> bool:
    """Whether another last token changes what the model says of those before it."""
    ids = torch.arange(1, _LENGTH + 1).repeat(2, 1) % transformer.config.vocab_size
    ids[1, -1] = 0
    mask = torch.ones_like(ids)
    if padding is not None:
        none = torch.zeros(2, 2, dtype=torch.long)
        ids, mask = (torch.cat([none, t] if padding == "left" else [t, none], dim=1) for t in (ids, mask))
    device = next(transformer.parameters()).device
    training = transformer.training
    hidden = transformer.eval()(input_ids=ids.to(device), attention_mask=mask.to(device)).last_hidden_state
    transformer.train(training)
    start = 2 if padding == "left" else 0
    one, other = hidden[:, start : start + _LENGTH - 1].float()
    return bool((one - other).norm() > _ROUNDING * torch.finfo(hidden.dtype).eps * one.norm())
