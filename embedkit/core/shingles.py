"""A text as a set of runs of three words, and how much two such sets share."""

import re
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedkit.core.text import WITHOUT_SPACES, normalised

WORDS: Final = 3  # in a shingle
_WORD: Final = re.compile(rf"[{WITHOUT_SPACES}]|[^\W{WITHOUT_SPACES}]+|[^\w\s.,;:!?'\"“”‘’()]")


def words(normal: str) -> list[str]:
    """The words in order of a text that is `normalised`.

    Symbols are words ("c++" and "c#" differ), sentence punctuation is nothing, and scripts without spaces count every
    character as a word.
    """
    return _WORD.findall(normal)


def shingles(text: str) -> NDArray[np.uint64]:
    """64-bit hashes of the text's runs of three `words`, sorted, each once.

    A text of one or two words is one shingle; a text of none has none.
    """
    found = words(normalised(text))
    runs = {" ".join(found[i : i + WORDS]) for i in range(max(1, len(found) - WORDS + 1))} if found else set()
    hashes = b"".join(blake2b(run.encode(), digest_size=8).digest() for run in runs)
    return np.unique(np.frombuffer(hashes, dtype="<u8").astype(np.uint64))


def jaccard(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> float:
    """|A ∩ B| / |A ∪ B| of two sorted sets; 0 if both are empty."""
    shared = np.intersect1d(a, b, assume_unique=True).size
    return shared / union if (union := a.size + b.size - shared) else 0.0
