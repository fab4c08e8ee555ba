"""Which of many texts are equal, told by their digests: of the texts themselves none is kept."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b, sha256
from typing import Final

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
_BYTES: Final = 16  # two texts of one digest are not to be met by chance, nor made on purpose by anyone


@dataclass(frozen=True)
class Distinct:
    """n texts, m of them distinct, these in the order in which they first stand."""

    rows: Rows  # (m,) where each distinct text first stands
    places: Rows  # (n,) which distinct text each text is
    digests: NDArray[np.uint64]  # (m, 2) of each distinct text

    def name(self, part: slice) -> str:
        """Stands for this part of the distinct texts, in their order."""
        return sha256(self.digests[part].astype("<u8").tobytes()).hexdigest()


def distinct(texts: Iterable[str]) -> Distinct:
    """The distinct ones among `texts`, which are read once, one after the other."""
    digests = _digests(texts)
    order = np.lexsort((digests[:, 1], digests[:, 0]))  # stable: of equal digests the first text stays the first
    ordered = digests[order]
    opens = np.ones(len(order), dtype=np.bool_)  # whether another digest begins here
    opens[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    del ordered
    first = order[opens]
    number = np.empty(len(first), dtype=np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    places = np.empty(len(order), dtype=np.int64)
    places[order] = number[np.cumsum(opens) - 1]
    rows = np.sort(first)
    return Distinct(rows, places, digests[rows])


def _digests(texts: Iterable[str]) -> NDArray[np.uint64]:
    """(n, 2) a 128-bit digest of each text."""
    found = bytearray()
    for text in texts:
        found += blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_BYTES).digest()
    return np.frombuffer(found, dtype="<u8").reshape(-1, 2)
