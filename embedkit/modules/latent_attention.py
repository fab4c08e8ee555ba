"""Latent attention pooling (NV-Embed)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from embedkit.modules.means import mean_over_tokens
from embedkit.modules.pooling import TrainedPooling


class LatentAttention(TrainedPooling):
    """The tokens of a text look up trained latents, and the mean is taken of what they find (NV-Embed).

        O = softmax(Q Kᵀ) V,  embedding = mean over tokens of MLP(O)

    Q (T, D) are the decoder's last hidden states, K = V (r, D) the latents: the opposite of a Perceiver, whose
    latents are the queries. Each of the `heads` sees D / heads dimensions. The MLP is two linear layers with GELU
    between. The paper prints no scale; `scaled` divides by √(D / heads), without which wide heads begin saturated.
    Without `include_prompt`, the tokens of the instruction are attended to by the others but not in the mean.
    Reference: https://arxiv.org/abs/2405.17428, section 3.1.1, eq. 1.
    """

    config_keys: list[str] = ["embedding_dimension", "latents", "heads", "scaled", "include_prompt"]  # noqa: RUF012

    def __init__(
        self,
        embedding_dimension: int,
        latents: int = 512,
        heads: int = 8,
        *,
        scaled: bool = True,
        include_prompt: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.embedding_dimension, self.latents, self.heads = embedding_dimension, latents, heads
        self.scaled, self.include_prompt = scaled, include_prompt
        self.values = nn.Parameter(torch.randn(latents, embedding_dimension))
        self.mlp = nn.Sequential(
            nn.Linear(embedding_dimension, embedding_dimension),
            nn.GELU(),
            nn.Linear(embedding_dimension, embedding_dimension),
        )

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Adds `sentence_embedding` (B, D) to the features of B texts."""
        found = look_up(features["token_embeddings"], self.values, heads=self.heads, scaled=self.scaled)
        features["sentence_embedding"] = mean_over_tokens(self.mlp(found), features, include_prompt=self.include_prompt)
        return features


def look_up(tokens: Tensor, latents: Tensor, *, heads: int, scaled: bool) -> Tensor:
    """softmax(Q Kᵀ) V of tokens (B, T, D) over latents (r, D) that are keys and values, (B, T, D)."""
    queries = tokens.reshape(*tokens.shape[:2], heads, -1).transpose(1, 2)  # (B, heads, T, D / heads)
    keys = latents.to(tokens.dtype).reshape(len(latents), heads, -1).transpose(0, 1)
    keys = keys.expand(len(tokens), -1, -1, -1)  # (B, heads, r, D / heads)
    found = scaled_dot_product_attention(queries, keys, keys, scale=None if scaled else 1.0)
    return found.transpose(1, 2).flatten(2)
