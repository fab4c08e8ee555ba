"""Embeddings whose first dimensions are embeddings too."""

from typing import Literal, Self

import torch
from pydantic import PositiveFloat, PositiveInt, model_validator
from torch import Tensor
from torch.nn.functional import normalize

from embedkit.core.errors import DataError
from embedkit.losses.batch import Batch
from embedkit.losses.wrapper import Wrapper


class Matryoshka(Wrapper):
    """Another loss at several lengths of the embeddings, so that they can be cut short after training.

        L = Σ_d c_d · loss(norm(q[:d]), norm(p[:d]))

    over all queries q and documents p; d runs over `dims`, c are `weights`, norm brings the first d dimensions back to
    unit length where embeddings had it. Guides and the level of progressive weights stay those of full length.
    Reference: https://arxiv.org/abs/2205.13147, eq. 1.
    """

    kind: Literal["matryoshka"] = "matryoshka"
    dims: tuple[PositiveInt, ...] | None = None  # longest first; null: all D, a half, a quarter, an 8th and a 16th
    weights: tuple[PositiveFloat, ...] | None = None  # one per length; null: 1 each

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.dims is not None and (not self.dims or list(self.dims) != sorted(set(self.dims), reverse=True)):
            raise ValueError(f"dims must fall from one to the next; found {list(self.dims)}")
        if self.weights is not None and len(self.weights) != len(self.dims or ()):
            raise ValueError(f"weights must be one per entry of dims; found {len(self.weights)}")
        return self

    def compute(self, batch: Batch) -> Tensor:
        """See the class."""
        dims = self._lengths(batch.queries.shape[1])
        weights = self.weights or (1.0,) * len(dims)
        return torch.stack([c * self.loss(_cut(batch, d)) for d, c in zip(dims, weights, strict=True)]).sum()

    def _lengths(self, full: int) -> tuple[int, ...]:
        if self.dims is None:
            return tuple(full // share for share in (1, 2, 4, 8, 16) if full >= share)
        if self.dims[0] > full:
            raise DataError(f"matryoshka: dims has {self.dims[0]}; the embeddings have {full}, which is the most")
        return self.dims


def _cut(batch: Batch, dims: int) -> Batch:
    """The batch with embeddings of the first `dims` dimensions."""
    parts = {"queries": batch.queries[:, :dims], "documents": batch.documents[:, :dims]}
    if batch.unit:
        parts = {name: normalize(part, dim=1) for name, part in parts.items()}
    return batch.changed(**parts)
