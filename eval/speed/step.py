"""A whole training step of a model of MiniLM's size: embedkit's objective and sentence-transformers' losses."""

from collections.abc import Callable
from typing import Any

import torch
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from embedkit.losses import InfoNCE
from embedkit.training.assembly import Structure
from embedkit.training.objective import Objective

CHUNK = 64
TOKENS = 32
Features = dict[str, Tensor]


class Encoder(nn.Module):
    """A BERT of MiniLM-L6's size with random weights and mean pooling; speed does not depend on weights."""

    def __init__(self) -> None:
        super().__init__()
        config = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
        self.bert = BertModel(config, add_pooling_layer=False)

    def forward(self, features: Features, **_: Any) -> dict[str, Tensor]:
        """The features with `sentence_embedding`, (rows, 384)."""
        inputs = {name: features[name] for name in ("input_ids", "attention_mask")}
        return {**features, "sentence_embedding": self.bert(**inputs).last_hidden_state.mean(1)}


def step_ways(batch: int, device: str) -> dict[str, Callable[[], object]]:
    """Name -> one step's forward and backward, in chunks of `CHUNK` texts or, for "plain", all at once."""
    torch.manual_seed(0)
    model = Encoder().to(device)
    sides = [_texts(batch, device) for _ in range(2)]
    peer = CachedMultipleNegativesRankingLoss(nn.Sequential(nn.Identity()), mini_batch_size=CHUNK)
    nn.Module.__setattr__(peer, "model", model)
    losses: dict[str, Callable[[], Tensor]] = {
        "embedkit cached": lambda: objective(sides, structure),
        "cached": lambda: peer([dict(side) for side in sides], None),
        "embedkit": lambda: whole(sides, structure),
        "plain": lambda: MultipleNegativesRankingLoss(model)([dict(side) for side in sides], None),
    }
    objective = Objective(model, InfoNCE(), chunk_size=CHUNK)
    whole = Objective(model, InfoNCE())
    structure = _structure(batch, device)

    def step(loss: Callable[[], Tensor]) -> Callable[[], object]:
        def run() -> None:
            model.zero_grad(set_to_none=True)
            loss().backward()

        return run

    return {name: step(loss) for name, loss in losses.items()}


def _texts(batch: int, device: str) -> Features:
    ids = torch.randint(1000, 30_000, (batch, TOKENS), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids.to(device), "attention_mask": torch.ones_like(ids).to(device)}


def _structure(batch: int, device: str) -> Structure:
    numbers = torch.arange(batch + 1, device=device)
    return Structure(
        query_ids=numbers[:-1],
        doc_ids=numbers[:-1],
        positive_offsets=numbers,
        positive_columns=numbers[:-1],
        negative_offsets=torch.zeros_like(numbers),
        negative_columns=numbers[:0],
        known=torch.empty(0, 2, dtype=torch.int64, device=device),
    )
