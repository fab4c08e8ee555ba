"""Multi-layers trainable pooling (Pooling and Attention)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from embedkit.modules.means import mean_over_tokens
from embedkit.modules.pooling import TrainedPooling


class LayerwisePooling(TrainedPooling):
    """Trained latents read what every layer says of a text, and their mean is its embedding.

        m_l = mean over tokens of layer l + position_l,   Z = X + Attention(LN(X), LN(m)),   Z' = Z + GEGLU(LN(Z))

    X (r, D) are the latents, Z' (r, D) is averaged over r. The embedding layer is not among the L layers. The authors'
    code has 768 latents and 32 heads of 2048 dimensions; here heads share the D dimensions, and fewer latents do.
    The Transformer must give its hidden states: `output_hidden_states` in its configuration.
    Reference: https://arxiv.org/abs/2409.02727, section 3.2, https://github.com/yixuantt/PoolingAndAttn
    """

    config_keys: list[str] = ["embedding_dimension", "layers", "latents", "heads", "include_prompt"]  # noqa: RUF012

    def __init__(
        self,
        embedding_dimension: int,
        layers: int,
        latents: int = 64,
        heads: int = 8,
        *,
        include_prompt: bool = True,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.embedding_dimension, self.layers, self.latents = embedding_dimension, layers, latents
        self.heads, self.include_prompt = heads, include_prompt
        self.positions = nn.Parameter(0.02 * torch.randn(layers, embedding_dimension))
        self.queries = nn.Parameter(0.02 * torch.randn(latents, embedding_dimension))
        self.query_norm = nn.LayerNorm(embedding_dimension)
        self.layer_norm = nn.LayerNorm(embedding_dimension)
        self.attention = nn.MultiheadAttention(embedding_dimension, heads, batch_first=True)
        self.mlp = GEGLU(embedding_dimension)

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Adds `sentence_embedding` (B, D) to the features of B texts; takes the layers' token vectors away."""
        hidden: tuple[Tensor, ...] = features.pop("all_layer_embeddings", ())
        if len(hidden) != self.layers + 1:
            found = f"{len(hidden)} hidden states" if hidden else "none"
            raise ValueError(f"layerwise pooling: needs the hidden states of {self.layers} layers, found {found}")
        means = [mean_over_tokens(layer, features, include_prompt=self.include_prompt) for layer in hidden[1:]]
        context = self.layer_norm(torch.stack(means, dim=1) + self.positions)  # (B, L, D)
        latents = self.queries.expand(len(context), -1, -1)  # (B, r, D)
        found, _ = self.attention(self.query_norm(latents), context, context, need_weights=False)
        features["sentence_embedding"] = self.mlp(latents + found).mean(dim=1)
        return features


class GEGLU(nn.Module):
    """x + W₂ (gelu(W_g LN(x)) · W₁ LN(x)), four times as wide inside (Shazeer, 2020, arXiv:2002.05202)."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dimension)
        self.wide = nn.Linear(dimension, 8 * dimension)
        self.back = nn.Linear(4 * dimension, dimension)

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        values, gate = self.wide(self.norm(inputs)).chunk(2, dim=-1)
        result: Tensor = inputs + self.back(values * gelu(gate))
        return result
