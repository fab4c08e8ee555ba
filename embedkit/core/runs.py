"""The runs of words of many texts at a time, as sets of 64-bit numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embedkit.core.shingles import words
from embedkit.core.text import normalised

Hashes = NDArray[np.uint64]
Counts = NDArray[np.int64]

_KNOWN: Final = 1 << 17  # words whose hashes are kept
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Sets:
    """n sets of numbers, one after the other, each sorted."""

    values: Hashes  # (m,)
    sizes: Counts  # (n,), m in all

    def __len__(self) -> int:
        return len(self.sizes)

    def owners(self) -> Counts:
        """(m,) which of the n sets each number is of."""
        return np.repeat(np.arange(len(self.sizes), dtype=np.int64), self.sizes)

    @staticmethod
    def of(sets: Sequence[Hashes]) -> "Sets":
        """These sets."""
        sizes = np.array([len(one) for one in sets], dtype=np.int64)
        return Sets(np.concatenate([np.empty(0, np.uint64), *sets]), sizes)

    @staticmethod
    def joined(parts: Sequence["Sets"]) -> "Sets":
        """The sets of all parts, in order."""
        values = [np.empty(0, np.uint64), *(part.values for part in parts)]
        return Sets(np.concatenate(values), np.concatenate([np.empty(0, np.int64), *(part.sizes for part in parts)]))


class Words:
    """n texts as words, from which runs of any length are made.

    `digests` (n,) are equal for texts that `normalised` makes equal, and 0 for those without words.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        plain = [normalised(text) for text in texts]
        found = [words(text) for text in plain]
        self.lengths = np.array([len(one) for one in found], dtype=np.int64)
        total = int(self.lengths.sum())
        self._hashes = np.fromiter((_HASHES[word] for one in found for word in one), dtype=np.uint64, count=total)
        self._starts = np.cumsum(self.lengths) - self.lengths
        digests = ((_hash(text) or 1) if one else 0 for text, one in zip(plain, found, strict=True))
        self.digests = np.fromiter(digests, dtype=np.uint64, count=len(found))

    def runs(self, length: int) -> Sets:
        """Hashes of each text's runs of `length` words; a shorter text has none."""
        return self._sets(np.maximum(self.lengths - length + 1, 0), self._rolled(length))

    def shingles(self, length: int) -> Sets:
        """The same, but a shorter text is one run, as in `embedkit.core.shingles`; one without words has none."""
        hashes = self._rolled(length)
        for short in range(1, length):
            own = self._starts[self.lengths == short]
            hashes[own] = self._rolled(short)[own]
        return self._sets(np.where(self.lengths, np.maximum(self.lengths - length + 1, 1), 0), hashes)

    def _rolled(self, length: int) -> Hashes:
        """(total,) a hash of `length` words from each place on; at the end, where there are fewer, of no meaning.

        Σ h(w_i) · F^(length - i) modulo 2^64, then mixed, so that any of its bits can be used: Steele, Lea and Flood
        (2014), Fast splittable pseudorandom number generators.
        """
        padded = np.concatenate([self._hashes, np.zeros(length - 1, np.uint64)])
        found = np.zeros(len(self._hashes), np.uint64)
        for place in range(length):
            found *= _FACTOR
            found += padded[place : place + len(found)]
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            found ^= found >> np.uint64(shift)
            found *= np.uint64(factor)
        return found ^ (found >> np.uint64(31))

    def _sets(self, counts: Counts, hashes: Hashes) -> Sets:
        """The first `counts` of each text's hashes, sorted, each once."""
        own = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
        firsts = np.cumsum(counts) - counts
        values = hashes[np.arange(len(own)) + np.repeat(self._starts - firsts, counts)]
        order = np.lexsort((values, own))
        own, values = own[order], values[order]
        new = np.ones(len(own), dtype=np.bool_)
        new[1:] = (own[1:] != own[:-1]) | (values[1:] != values[:-1])
        return Sets(values[new], np.bincount(own[new], minlength=len(counts)))


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "little")


class _Remembered(dict[str, int]):
    """word -> hash; forgets all when there are too many."""

    def __missing__(self, word: str) -> Any:
        if len(self) >= _KNOWN:
            self.clear()
        self[word] = found = _hash(word)
        return found


_HASHES: Final = _Remembered()
