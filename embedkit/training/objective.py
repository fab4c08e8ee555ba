"""Joins a model to a loss, in the shape the sentence-transformers trainer calls."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

from embedkit.core.errors import DataError
from embedkit.losses import Batch, Loss
from embedkit.training.assembly import Structure, assemble
from embedkit.training.chunks import Budget, Chunking, Features, merged, passes, texts_in
from embedkit.training.distributed import computing, expect_gradients, passes_short, world_size
from embedkit.training.memory import CrossBatch, Encode, Memory, Momentum
from embedkit.training.tokenising import arrived

Tile = int | Literal["auto"] | None
Retrieve = Callable[[Tensor, Structure], tuple[Tensor, Structure]]
UNTILED = {"cpu": 2**24, "cuda": 2**26}  # scores that a loss holds at once without further ado, see `tile_rows`


class Objective(nn.Module):
    """Embeds the queries and the distinct documents of a batch and applies a loss.

    Texts of about equal length go through the model together, queries and documents alike where it makes no difference
    to the model, in as many passes as save time (`chunk_tokens` "auto", see `chunks.divided`). The gradients are those
    of one pass up to rounding, but for the draw of dropout, whose masks fall otherwise on other passes.

    With `chunk_size` texts, or a number of `chunk_tokens`, as the most of a pass, passes keep no activations: each is
    run again, with the same dropout, when the backward pass reaches it: the memory of one pass, for a third more time
    (GradCache, Gao et al., 2021, https://arxiv.org/abs/2101.06983). `chunk_tokens` None leaves texts in their order.

    `normalize` brings embeddings to unit length, for cosine similarity.

    `tile` is how many queries' scores a loss holds at once: the same loss and gradients in less memory; None: all;
    "auto": see `tile_rows`. Of several losses, a batch is given the one at the place of its `source`.

    What a loss remembers from batch to batch (`Batch.level`) is kept here, in `levels`: one number per loss, NaN
    before its first batch. It changes while the model is in training mode, and is part of `state_dict()`; so is the
    `memory`, which gives a batch documents of earlier ones as further negatives. Or documents do not pass the model at
    all: `retrieve` gives those of the batch, of queries' embeddings and the structure of their positives.
    """

    levels: Tensor

    def __init__(
        self,
        model: nn.Module,
        loss: Loss | Sequence[Loss],
        *,
        chunk_size: int | None = None,
        chunk_tokens: Budget = "auto",
        normalize: bool = True,
        tile: Tile = "auto",
        memory: CrossBatch | Momentum | None = None,
        retrieve: Retrieve | None = None,
    ) -> None:
        super().__init__()
        self.model = model  # the trainer replaces this attribute with its wrapped model
        self.losses = (loss,) if isinstance(loss, Loss) else tuple(loss)
        self.chunking = Chunking(chunk_size, chunk_tokens)
        self.normalize = normalize
        self.tile = tile
        self.memory = Memory(memory, self.losses) if memory is not None else None
        self.retrieve = retrieve
        self._largest = 0  # texts in the largest pass of the last batch
        remembers = any("level" in one.needs for one in self.losses)
        self.register_buffer("levels", torch.full((len(self.losses),), torch.nan), persistent=remembers)

    def forward(self, columns: Sequence[Features], structure: Structure) -> Tensor:
        """The loss of a batch; `columns` are the features of its queries and of its documents."""
        columns = [arrived(column, structure["query_ids"].device) for column in columns]
        place = self._place(structure)
        loss = self.losses[place]
        memory = self.memory if self.model.training else None
        if memory is not None:
            memory.begin(self.model, step=int(structure["seed"]) if "seed" in structure else None)
        if self.retrieve is not None:
            (queries,) = self._embed(columns)
            documents, structure = self.retrieve(queries.detach(), structure)
        else:
            queries, documents = self._embed(columns, memory and memory.encoder(self.model, place))
        expect_gradients(self.model, [queries, documents])
        batch = assemble(queries, documents, structure, unit=self.normalize)
        if memory is not None:
            batch = memory.extended(batch, place)
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

    def shrink(self) -> int | None:
        """After too little memory: from now on passes half as large, run again. How many texts one has at most; None
        where one is a single text already."""
        smaller = self.chunking.smaller(self._largest)
        if smaller is None:
            return None
        self.chunking = smaller
        return smaller.size

    def _embed(self, columns: Sequence[Features], keys: Encode | None = None) -> list[Tensor]:
        """The (rows, D) embeddings of each column; of documents by `keys`, without gradient, where it is given."""
        self._largest = 0
        if keys is not None:
            queries, documents = columns
            with torch.no_grad():
                encoded = self._rows(documents, keys)
            return [self._rows(queries), encoded]
        together = merged(columns) if self.chunking.tokens is not None else None
        if together is None:
            return [self._rows(column) for column in columns]
        return list(torch.split(self._rows(together), [texts_in(column) for column in columns]))

    def _rows(self, features: Features, model: Encode | None = None) -> Tensor:
        encode = partial(self._encode, model=model)
        chunks, places = passes(features, self.chunking)
        lacking = 0 if model is not None else passes_short(self.model, len(chunks))
        chunks += chunks[-1:] * lacking  # which nothing is learnt from
        self._largest = max(self._largest, *(texts_in(chunk) for chunk in chunks))
        if self.chunking.rerun:
            rows = torch.cat([checkpoint(encode, chunk, use_reentrant=False) for chunk in chunks])
        else:
            rows = torch.cat([encode(chunk) for chunk in chunks])
        if lacking:
            own = texts_in(features)
            rows = rows[:own] + 0 * rows[own:].sum()
        return rows if places is None else rows[places]

    def _encode(self, features: Features, model: Encode | None = None) -> Tensor:
        encode = computing(self.model) if model is None else model
        rows: Tensor = encode(dict(features))["sentence_embedding"]  # (rows, D)
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
