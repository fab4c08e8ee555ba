"""BM25: how well a document's words match a query's."""

import re
from collections.abc import Sequence
from typing import Final

import bm25s
import numpy as np
from numpy.typing import NDArray

from embedkit.core.text import WITHOUT_SPACES, normalised

_WORD: Final = re.compile(rf"[{WITHOUT_SPACES}]|[^\W{WITHOUT_SPACES}]+")


class BM25Index:
    """A BM25 index of N documents, held as the scores of every word in every document that has it.

        s(q, d) = Σ_{w in q} ln(1 + (N − n_w + ½) / (n_w + ½)) · f(w, d) / (f(w, d) + k1 · (1 − b + b · |d| / avg|d|))

    f counts w in d, n_w the documents that have w; a word that stands twice in the query counts twice. This is the
    form Lucene computes. No stemming and no stop words, so no language is assumed.
    Reference: Kamphuis et al. (2020), https://doi.org/10.1007/978-3-030-45442-5_4; Lù (2024), https://arxiv.org/abs/2407.03618.
    """

    def __init__(self, documents: Sequence[str], *, k1: float, b: float) -> None:
        self.size = len(documents)
        self.vocabulary: dict[str, int] = {}
        ids = [[self.vocabulary.setdefault(w, len(self.vocabulary)) for w in words(text)] for text in documents]
        self._index = None
        if self.vocabulary:
            self._index = bm25s.BM25(k1=k1, b=b, method="lucene", backend="numpy")
            self._index.index((ids, self.vocabulary), create_empty_token=False, show_progress=False)

    def scores(self, query: str) -> NDArray[np.float32]:
        """(N,) scores of every document; zeros where no word of the query is in it."""
        known = [self.vocabulary[word] for word in words(query) if word in self.vocabulary]
        if self._index is None or not known:
            return np.zeros(self.size, dtype=np.float32)
        scores: NDArray[np.float32] = self._index.get_scores_from_ids(known)
        return scores


def words(text: str) -> list[str]:
    """The words of a text, case folded; scripts without spaces between words count every character as one."""
    return _WORD.findall(normalised(text))
