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

import re
from collections.abc import Hashable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embedkit.core.text import WITHOUT_SPACES, normalised

_PERMUTATIONS: Final = 128
_MISSED: Final = 1e-3  # share of pairs right at the threshold that the bands may miss
_WORDS: Final = 3  # in a shingle
_WORD: Final = re.compile(rf"[{WITHOUT_SPACES}]|[^\W{WITHOUT_SPACES}]+|[^\w\s.,;:!?'\"“”‘’()]")


def shingles(text: str) -> NDArray[np.uint64]:
    """64-bit hashes of the text's runs of three words, sorted, each once.

    Symbols are words ("c++" and "c#" differ), sentence punctuation is nothing, and scripts without spaces count every
    character as a word. A text of one or two words is one shingle; a text of none has none.
    """
    words = _WORD.findall(normalised(text))
    runs = {" ".join(words[i : i + _WORDS]) for i in range(max(1, len(words) - _WORDS + 1))} if words else set()
    hashes = b"".join(blake2b(run.encode(), digest_size=8).digest() for run in runs)
    return np.unique(np.frombuffer(hashes, dtype="<u8").astype(np.uint64))


def jaccard(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> float:
    """|A ∩ B| / |A ∪ B| of two sorted sets; 0 if both are empty."""
    shared = np.intersect1d(a, b, assume_unique=True).size
    return shared / union if (union := a.size + b.size - shared) else 0.0


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
        self._bands = MinHashLSH(num_perm=_PERMUTATIONS, params=bands(threshold))

    def sketch(self, text: str) -> Sketch:
        """The sketch of a text, to be matched, added, or both."""
        found = shingles(text)
        if found.size * (1 - self.threshold) < self.threshold - 1e-9:
            return Sketch(found, None)
        minhash = self._empty.copy()
        minhash.update_batch((found & np.uint64(0xFFFFFFFF)).tolist())
        return Sketch(found, minhash)

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


def bands(threshold: float) -> tuple[int, int]:
    """Bands b and rows r of the MinHash table: the longest rows that miss at most 1 in 1,000 pairs at the threshold.

    A pair of similarity s shares a band with probability 1 - (1 - s^r)^b.
    """
    for rows in range(_PERMUTATIONS // 2, 1, -1):  # at least two bands
        count = _PERMUTATIONS // rows
        if (1 - threshold**rows) ** count <= _MISSED:
            return count, rows
    return _PERMUTATIONS, 1
