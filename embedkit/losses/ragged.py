"""Lists of different lengths in two tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ragged:
    """One list per row, without padding: row i has `values[offsets[i] : offsets[i + 1]]`."""

    offsets: Tensor  # (rows + 1,) int64, from 0
    values: Tensor  # (n,)

    @classmethod
    def of(cls, lists: Sequence[Sequence[float]], *, dtype: torch.dtype = torch.int64) -> "Ragged":
        """The ragged form of nested lists."""
        lengths = torch.tensor([0, *map(len, lists)], dtype=torch.int64)
        return cls(lengths.cumsum(0), torch.tensor([value for row in lists for value in row], dtype=dtype))

    @classmethod
    def sets(cls, rows: Tensor, values: Tensor, *, count: int, limit: int) -> "Ragged":
        """Of the pairs (row, value), 0 ≤ value < `limit`, the distinct values of each of `count` rows, ascending."""
        pairs = torch.unique(rows * limit + values)
        lengths = torch.bincount(pairs // limit, minlength=count)
        return cls(torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]), pairs % limit)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> Tensor:
        """(rows,)"""
        return self.offsets.diff()

    @cached_property
    def rows(self) -> Tensor:
        """(n,): the row each value belongs to."""
        numbers = torch.arange(len(self), device=self.offsets.device)
        return numbers.repeat_interleave(self.lengths, output_size=len(self.values))

    def take(self, rows: Tensor) -> "Ragged":
        """The lists of `rows`, which may repeat."""
        lengths = self.lengths[rows]
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        place = torch.arange(int(offsets[-1]), device=rows.device)
        shift = (self.offsets[:-1][rows] - offsets[:-1]).repeat_interleave(lengths, output_size=len(place))
        return Ragged(offsets, self.values[place + shift])

    def padded(self) -> tuple[Tensor, Tensor]:
        """(rows, L) values with zeros after each list, and (rows, L) bool: True where a value is."""
        longest = int(self.lengths.max()) if len(self) else 0
        present = torch.arange(longest, device=self.offsets.device) < self.lengths[:, None]
        values = self.values.new_zeros(present.shape)
        return values.masked_scatter(present, self.values), present
