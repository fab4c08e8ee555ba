"""Joins a model to a loss, in the shape the sentence-transformers trainer calls."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

from embedkit.core.errors import DataError
from embedkit.losses import Batch, Loss
from embedkit.training.assembly import Structure, assemble
from embedkit.training.distributed import world_size

Features = dict[str, Any]
Tile = int | Literal["auto"] | None
UNTILED = {"cpu": 2**24, "cuda": 2**26}  # scores that a loss holds at once without further ado, see `tile_rows`


class Objective(nn.Module):
    """Embeds the queries and the distinct documents of a batch and applies a loss.

    With `chunk_size`, each chunk of rows keeps no activations: its forward pass is run again, with the same dropout,
    when the backward pass reaches it. Memory of one chunk, and the same gradients as one big forward but for the draw
    of dropout, whose masks fall otherwise in chunks of another size (GradCache, Gao et al., 2021,
    https://arxiv.org/abs/2101.06983). `normalize` brings embeddings to unit length, for cosine similarity.

    `tile` is how many queries' scores a loss holds at once: the same loss and gradients in less memory; None: all;
    "auto": see `tile_rows`. Of several losses, a batch is given the one at the place of its `source`.

    What a loss remembers from batch to batch (`Batch.level`) is kept here, in `levels`: one number per loss, NaN
    before its first batch. It changes while the model is in training mode, and is part of `state_dict()`.
    """

    levels: Tensor

    def __init__(
        self,
        model: nn.Module,
        loss: Loss | Sequence[Loss],
        *,
        chunk_size: int | None = None,
        normalize: bool = True,
        tile: Tile = "auto",
    ) -> None:
        super().__init__()
        self.model = model  # the trainer replaces this attribute with its wrapped model
        self.losses = (loss,) if isinstance(loss, Loss) else tuple(loss)
        self.chunk_size = chunk_size
        self.normalize = normalize
        self.tile = tile
        remembers = any("level" in one.needs for one in self.losses)
        self.register_buffer("levels", torch.full((len(self.losses),), torch.nan), persistent=remembers)

    def forward(self, columns: Sequence[Features], structure: Structure) -> Tensor:
        """The loss of a batch; `columns` are the features of its queries and of its documents."""
        place = self._place(structure)
        loss = self.losses[place]
        queries, documents = (self._embed(column) for column in columns)
        batch = assemble(queries, documents, structure, unit=self.normalize)
        tile = self._tile(batch) if self.tile == "auto" else self.tile
        value = loss(batch.changed(tile=tile, level=self._level(place, batch)))
        if batch.queries.requires_grad and not value.requires_grad:
            raise DataError(
                f"loss {loss.kind}: its value does not depend on the embeddings; where there is nothing to learn from "
                "a batch, give `0 * batch.queries.sum()`"
            )
        # Processes average their gradients; this makes that the mean over all queries, however many each holds.
        return value * (len(batch) * world_size() / len(batch.queries))

    @staticmethod
    def _tile(batch: Batch) -> int | None:
        return tile_rows(len(batch), len(batch.documents), batch.queries.device.type)

    def _place(self, structure: Structure) -> int:
        if len(self.losses) == 1:
            return 0
        if "source" not in structure:
            raise DataError(f"batch: it does not say its source, which chooses one of {len(self.losses)} losses")
        place = int(structure["source"])
        if not 0 <= place < len(self.losses):
            raise DataError(f"batch: its source is {place}, but there are {len(self.losses)} losses")
        return place

    @torch.no_grad()
    def _level(self, place: int, batch: Batch) -> Tensor | None:
        """The level for this batch, which it takes part in; computed from the queries of every process."""
        loss = self.losses[place]
        if "level" not in loss.needs:
            return None
        level = None if self.levels[place].isnan() else self.levels[place].clone()
        if level is None or self.model.training:
            level = loss.next_level(level, batch.full_precision().changed(local=range(len(batch.queries))))
        if level is not None and self.model.training:
            self.levels[place] = level
        return level

    def _embed(self, features: Features) -> Tensor:
        if self.chunk_size is None:
            return self._encode(features)
        chunks = _split(features, self.chunk_size)
        return torch.cat([checkpoint(self._encode, chunk, use_reentrant=False) for chunk in chunks])

    def _encode(self, features: Features) -> Tensor:
        rows: Tensor = self.model(dict(features))["sentence_embedding"]  # (rows, D)
        rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
        return normalize(rows, dim=-1) if self.normalize else rows


def tile_rows(queries: int, documents: int, device: str = "cpu") -> int | None:
    """How many queries' scores to hold at once: all where they are few, else half as many, in multiples of 32 queries.

    Few is 2²⁴ scores (64 MB), or 2²⁶ on a GPU, whose matrix units want larger products.
    """
    few = UNTILED.get(device, UNTILED["cpu"])
    if queries * documents <= few:
        return None
    return max(1, few // 2 // documents // 32) * 32


def _split(features: Features, size: int) -> Iterator[Features]:
    """`features` in chunks of rows; values that have no rows go with every chunk."""
    rows = max(len(v) for v in features.values() if isinstance(v, Tensor) and v.ndim)
    for start in range(0, rows, size):
        yield {
            k: v[start : start + size] if isinstance(v, Tensor) and v.ndim and len(v) == rows else v
            for k, v in features.items()
        }
