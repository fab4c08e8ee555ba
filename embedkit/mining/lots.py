"""Random numbers that belong to what they are drawn for. Pure NumPy."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedkit.mining.filters import Doubles, Rows

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def draw_lots(seed: int, query_ids: Sequence[str], numbers: Rows) -> Doubles:
    """(Q, K) numbers from [0, 1), each a function of the seed, its query's id and its own entry of `numbers` (Q, K).

    So what is drawn for a query does not change with other queries, and what is drawn for a document does not change
    with other documents. SplitMix64 of a digest. Reference: Steele, Lea and Flood (2014),
    https://doi.org/10.1145/2660193.2660195.
    """
    streams = np.array([_digest(f"{seed}\n{query}") for query in query_ids], dtype=np.uint64)
    mixed = _mix(streams[:, None] + (numbers.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def query_generator(seed: int, query_id: str) -> np.random.Generator:
    """A generator of this query's own."""
    return np.random.default_rng(_digest(f"{seed}\n{query_id}"))


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "little")


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return state ^ (state >> np.uint64(31))
