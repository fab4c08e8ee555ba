"""When two texts are the same, and when nearly so.

Exact: equal after NFKC, case folding and collapsing white space. Near: the Jaccard similarity of their sets of
three-word shingles is at least a threshold,

    J(A, B) = |A ∩ B| / |A ∪ B|.

MinHash bands only propose candidates; each is decided by J itself, so nothing is called a near duplicate that is not.
Two different sets with J ≥ t share at least t / (1 - t) shingles: shorter texts are near duplicates only if their sets
are equal, and need no MinHash.
Reference: Broder (1997), On the resemblance and containment of documents; bands: Leskovec, Rajaraman and Ullman,
Mining of Massive Datasets, 3.4.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embedkit.core.shingles import jaccard, shingles

_PERMUTATIONS: Final = 128
_MISSED: Final = 1e-3  # share of pairs right at the threshold that the bands may miss


@dataclass(frozen=True)
class Sketch:
    """What `NearDuplicates` compares of a text."""

    shingles: NDArray[np.uint64]
    minhash: Any  # datasketch.MinHash, or None where only an equal set can match


@dataclass(frozen=True)
class Match:
    """An indexed text close to another, and how close."""

    key: int
    similarity: float


class NearDuplicates:
    """An index of texts by number that finds the near duplicate of another text."""

    def __init__(self, threshold: float) -> None:
        from datasketch import MinHash, MinHashLSH

        self.threshold = threshold
        self._equal: dict[Hashable, int] = {}
        self._shingles: dict[int, NDArray[np.uint64]] = {}
        self._empty = MinHash(num_perm=_PERMUTATIONS, hashfunc=int)
        self._shape = bands(threshold)
        self._bands = MinHashLSH(num_perm=_PERMUTATIONS, params=self._shape)
        self._mix = np.random.default_rng(0).integers(0, 2**63, self._shape[1], dtype=np.uint64) * 2 + 1

    def sketch(self, text: str) -> Sketch:
        """The sketch of a text, to be matched, added, or both."""
        return self.sketch_of(shingles(text))

    def sketch_of(self, found: NDArray[np.uint64]) -> Sketch:
        """The same from its shingles."""
        if found.size * (1 - self.threshold) < self.threshold - 1e-9:
            return Sketch(found, None)
        minhash = self._empty.copy()
        minhash.update_batch((found & np.uint64(0xFFFFFFFF)).tolist())
        return Sketch(found, minhash)

    @property
    def keys(self) -> int:
        """How many keys a sketch has."""
        return 1 + self._shape[0]

    def keys_of(self, sketch: Sketch) -> NDArray[np.uint64]:
        """(keys,) numbers, one at least of which is that of any text this one could match; 0 where there is none."""
        found = np.zeros(self.keys, dtype=np.uint64)
        if sketch.shingles.size:
            found[0] = np.frombuffer(blake2b(sketch.shingles.tobytes(), digest_size=8).digest(), dtype=np.uint64)[0]
        if sketch.minhash is not None:
            count, rows = self._shape
            values = sketch.minhash.hashvalues[: count * rows].astype(np.uint64).reshape(count, rows)
            found[1:] = (values * self._mix).sum(axis=1, dtype=np.uint64)  # modulo 2^64
        return found

    def add(self, key: int, sketch: Sketch) -> None:
        """Index a text."""
        if not sketch.shingles.size:
            return
        self._equal.setdefault(sketch.shingles.tobytes(), key)
        if sketch.minhash is not None:
            self._shingles[key] = sketch.shingles
            self._bands.insert(key, sketch.minhash)

    def match(self, sketch: Sketch) -> Match | None:
        """The closest indexed text at or above the threshold, the one with the lowest number if several are."""
        if (equal := self._equal.get(sketch.shingles.tobytes())) is not None:
            return Match(equal, 1.0)
        if sketch.minhash is None:
            return None
        candidates = [Match(k, jaccard(sketch.shingles, self._shingles[k])) for k in self._bands.query(sketch.minhash)]
        close = [match for match in candidates if match.similarity >= self.threshold - 1e-9]
        return min(close, key=lambda match: (-match.similarity, match.key)) if close else None


def crowded(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Rows of `keys` (n, k) that share a key, other than 0, with another row, in ascending order."""
    shared = np.zeros(len(keys), dtype=np.bool_)
    for column in keys.T:
        order = np.argsort(column, kind="stable")
        ordered = column[order]
        same = np.flatnonzero((ordered[1:] == ordered[:-1]) & (ordered[1:] != 0))
        shared[order[same]] = shared[order[same + 1]] = True
    return np.flatnonzero(shared)


def bands(threshold: float) -> tuple[int, int]:
    """Bands b and rows r of the MinHash table: the longest rows that miss at most 1 in 1,000 pairs at the threshold.

    A pair of similarity s shares a band with probability 1 - (1 - s^r)^b.
    """
    for rows in range(_PERMUTATIONS // 2, 1, -1):  # at least two bands
        count = _PERMUTATIONS // rows
        if (1 - threshold**rows) ** count <= _MISSED:
            return count, rows
    return _PERMUTATIONS, 1
