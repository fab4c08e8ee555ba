"""Lists of numbers end to end in arrays, where Python's would take twenty times the memory."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray

Places = NDArray[Any]  # whole numbers, of the smallest type that holds them
Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class Lists:
    """n lists: list i is `values[offsets[i] : offsets[i + 1]]`."""

    offsets: Places  # (n + 1,)
    values: NDArray[Any]

    @staticmethod
    def of(lists: Sequence[Iterable[float]], dtype: DTypeLike = np.int64) -> "Lists":
        """These lists."""
        parts = [list(some) for some in lists]
        lengths = np.array([len(part) for part in parts], dtype=np.int64)
        return Lists.of_lengths(lengths, np.array([*chain.from_iterable(parts)], dtype))

    @staticmethod
    def of_lengths(lengths: Places, values: NDArray[Any]) -> "Lists":
        """Lists of these lengths."""
        return Lists(ends(lengths), values)

    @staticmethod
    def of_keys(keys: Places, *, lists: int, width: int) -> "Lists":
        """The list i holds each j with i · width + j among the `keys`, which ascend."""
        return Lists(ends(np.bincount(keys // width, minlength=lists)), (keys % width).astype(number_type(width)))

    @staticmethod
    def joined(parts: Sequence["Lists"]) -> "Lists":
        """The lists of every part, one after the other."""
        lengths = np.concatenate([np.empty(0, dtype=np.int64), *(part.lengths for part in parts)])
        return Lists(ends(lengths), np.concatenate([part.values for part in parts]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> NDArray[Any]:
        return self.values[self.part(number)]

    @property
    def lengths(self) -> Places:
        """(n,) how many entries each list has."""
        lengths: Places = self.offsets[1:] - self.offsets[:-1]
        return lengths

    @property
    def filled(self) -> NDArray[np.bool_]:
        """(n,) whether each list has an entry."""
        filled: NDArray[np.bool_] = self.offsets[1:] > self.offsets[:-1]
        return filled

    @property
    def owners(self) -> Places:
        """Of every entry, the number of its list."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def depths(self) -> Places:
        """Of every entry, its place in its list."""
        depths: Places = np.arange(len(self.values)) - np.repeat(self.offsets[:-1], self.lengths)
        return depths

    def keys(self, width: int, owners: Places | None = None) -> Places:
        """Of every entry, its list's number (or what `owners` (n,) has in its place) · width + the entry."""
        owners = np.arange(len(self)) if owners is None else owners.astype(np.int64)
        keys: Places = np.repeat(owners * width, self.lengths) + self.values
        return keys

    def first(self, width: int) -> NDArray[np.bool_]:
        """Of every entry, whether it stands in its list for the first time; entries are below `width`."""
        result = np.zeros(len(self.values), dtype=np.bool_)
        result[np.unique(self.keys(width), return_index=True)[1]] = True
        return result

    def has(self, keys: Places, width: int) -> NDArray[np.bool_]:
        """Of every key i · width + j, whether list i has the entry j. Entries ascend in their lists."""
        own = self.keys(width)
        if not len(own):
            return np.zeros(len(keys), dtype=np.bool_)
        found: NDArray[np.bool_] = own[np.searchsorted(own, keys).clip(max=len(own) - 1)] == keys
        return found

    def part(self, number: int) -> slice:
        """Where in `values` a list stands."""
        return slice(int(self.offsets[number]), int(self.offsets[number + 1]))

    def take(self, rows: Places) -> "Lists":
        """Some of the lists, in this order."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        offsets = ends(lengths)
        moved = np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return Lists(offsets, self.values[np.arange(offsets[-1]) + moved])

    def kept(self, entries: NDArray[np.bool_]) -> "Lists":
        """The lists with only these entries."""
        before = np.concatenate([[0], np.cumsum(entries)])
        return Lists(before[self.offsets], self.values[entries])

    def python(self) -> Iterator[list[Any]]:
        """The lists as Python's, one after the other: many at once would busy the garbage collector."""
        values = self.values.tolist()
        return (values[start:end] for start, end in pairwise(self.offsets.tolist()))

    def set(self, number: int) -> frozenset[int]:
        """The entries of a list."""
        return frozenset(self[number].tolist())


class Sets(Sequence[frozenset[int]]):
    """Lists of ascending numbers. A set is made when it is asked for."""

    def __init__(self, lists: Lists) -> None:
        self.lists = lists

    def __len__(self) -> int:
        return len(self.lists)

    @overload
    def __getitem__(self, number: int) -> frozenset[int]: ...
    @overload
    def __getitem__(self, number: slice) -> list[frozenset[int]]: ...
    def __getitem__(self, number: int | slice) -> frozenset[int] | list[frozenset[int]]:
        numbers = range(len(self))[number]
        return self.lists.set(numbers) if isinstance(numbers, int) else [self.lists.set(i) for i in numbers]

    def pairs(self, numbers: Places) -> Places:
        """(K, 2) of the sets of these numbers: place in `numbers` and entry, both ascending."""
        some = self.lists.take(numbers)
        return np.stack([some.owners, some.values], axis=1).astype(np.int64)


class Sparse(Mapping[int, Made]):
    """What some of the numbers below n have, made when it is asked for."""

    def __init__(self, there: NDArray[np.bool_], make: Callable[[int], Made]) -> None:
        self._there, self._make, self._count = there, make, int(np.count_nonzero(there))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        return iter(np.flatnonzero(self._there).tolist())

    def __getitem__(self, number: int) -> Made:
        if not (0 <= number < len(self._there) and self._there[number]):
            raise KeyError(number)
        return self._make(number)


def ends(lengths: NDArray[Any]) -> Places:
    """(n + 1,) where lists of these lengths (n,) begin when they stand end to end, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def number_type(count: int) -> type[np.int32] | type[np.int64]:
    """The smaller type that tells `count` things apart."""
    return np.int32 if count <= np.iinfo(np.int32).max else np.int64
