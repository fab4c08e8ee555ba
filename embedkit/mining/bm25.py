"""BM25: how well a document's words match a query's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
from numpy.typing import NDArray

from embedkit.core.progress import Advance
from embedkit.core.stage import Context
from embedkit.mining.filters import NONE, Rows, Scores
from embedkit.mining.postings import DATA, INDICES, INDPTR, WORDS, Building, Digests, digest_of, word_digests, words
from embedkit.mining.teacher import Scorer
from embedkit.retrieval.kept import get_or_build

Floats = NDArray[np.float32]


class BM25Index:
    """A BM25 index of N documents, held as the scores of every word in every document that has it.

        s(q, d) = Σ_{w in q} ln(1 + (N − n_w + ½) / (n_w + ½)) · f(w, d) / (f(w, d) + k1 · (1 − b + b · |d| / avg|d|))

    f counts w in d, n_w the documents that have w; a word that stands twice in the query counts twice. This is the
    form Lucene computes. No stemming and no stop words, so no language is assumed. Everything is memory-mapped; words
    are 64-bit digests. The scores lie as bm25s has them, which scores whole corpora.
    Reference: Kamphuis et al. (2020), https://doi.org/10.1007/978-3-030-45442-5_4; Lù (2024), https://arxiv.org/abs/2407.03618.
    """

    def __init__(self, folder: Path, size: int) -> None:
        """Open the index of `size` documents that `BM25Index.open` has made in a folder."""
        self.size = size
        self.words: Digests = _load(folder / WORDS)  # sorted
        self._scores, self._documents, self._starts = (_load(folder / name) for name in (DATA, INDICES, INDPTR))
        self._whole = bm25s.BM25(method="lucene", backend="numpy")
        self._whole.nonoccurrence_array = None
        if len(self.words):
            self._whole.load_scores(folder, num_docs=self.size, mmap=True)

    @staticmethod
    def open(
        documents: Sequence[str], work: Path, *, k1: float, b: float, advance: Advance = lambda _: None
    ) -> "BM25Index":
        """The index of these documents in the folder `work`, made first unless it is there, whole and undamaged."""
        about = {"index": "bm25", "format": 1, "k1": k1, "b": b, "documents": digest_of(documents)}
        folder, _ = get_or_build(work, about, lambda draft: Building(draft, k1=k1, b=b).build(documents, advance))
        return BM25Index(folder, len(documents))

    def scores(self, query: str) -> Floats:
        """(N,) scores of every document; zeros where no word of the query is in it."""
        numbers = self._numbers(query)
        if not numbers:
            return np.zeros(self.size, dtype=np.float32)
        scores: Floats = self._whole.get_scores_from_ids(numbers)
        return scores

    def scores_of(self, query: str, rows: Rows) -> Floats:
        """The same of these documents only, without a look at the others."""
        wanted, scores = rows.astype(np.int32), np.zeros(len(rows), dtype=np.float32)
        for number in self._numbers(query):
            start, end = self._starts[number], self._starts[number + 1]
            documents = self._documents[start:end]  # ascending
            places = np.minimum(np.searchsorted(documents, wanted), len(documents) - 1)
            scores += np.where(documents[places] == wanted, self._scores[start:end][places], np.float32(0))
        return scores

    def search(self, query: str, top_k: int, *, some: Rows | None = None) -> tuple[Rows, Floats]:
        """(top_k,) rows and scores of the best documents with a word of the query, of all or `some`, which ascend;
        best first, equal scores by row, -1 and 0 behind them."""
        scores = self.scores(query)
        rows = np.flatnonzero(scores) if some is None else some[scores[some] != 0]
        if len(rows) > top_k:
            last = np.partition(scores[rows], -top_k)[-top_k]
            above, equal = rows[scores[rows] > last], rows[scores[rows] == last]
            rows = np.concatenate([above, equal[: top_k - len(above)]])
        rows = rows[np.lexsort((rows, -scores[rows]))]
        missing = (0, top_k - len(rows))
        return np.pad(rows, missing, constant_values=NONE), np.pad(scores[rows], missing)

    def _numbers(self, query: str) -> list[int]:
        """Places of the query's words among `words`, those left out that no document has."""
        digests = word_digests(words(query))
        places = np.minimum(np.searchsorted(self.words, digests), len(self.words) - 1)
        return places[self.words[places] == digests].tolist() if len(self.words) else []


def open_index(documents: Sequence[str], context: Context, *, k1: float, b: float) -> BM25Index:
    """The stage's index of these documents, kept in its work folder."""
    with context.progress("index words", len(documents)) as advance:
        return BM25Index.open(documents, context.work, k1=k1, b=b, advance=advance)


def word_scorer(index: BM25Index, context: Context) -> Scorer:
    """The index' scores of lists of documents."""

    def score(queries: Sequence[str], lists: Sequence[Rows]) -> list[Scores]:
        with context.progress("BM25", len(queries)) as advance:
            found: list[Scores] = []
            for query, rows in zip(queries, lists, strict=True):
                found.append(index.scores_of(query, rows))
                advance(1)
        return found

    return score


def search_words(
    index: BM25Index, queries: Sequence[str], top_k: int, context: Context, *, some: Rows | None = None
) -> tuple[Rows, Floats]:
    """(Q, top_k) rows and scores of each query's best documents, as `BM25Index.search` gives them."""
    rows, scores = np.empty((len(queries), top_k), dtype=np.int64), np.empty((len(queries), top_k), dtype=np.float32)
    with context.progress("search words", len(queries)) as advance:
        for place, query in enumerate(queries):
            rows[place], scores[place] = index.search(query, top_k, some=some)
            advance(1)
    return rows, scores


def _load(path: Path) -> NDArray[Any]:
    found: NDArray[Any] = np.load(path, mmap_mode="r" if path.stat().st_size > 128 else None, allow_pickle=False)
    return found
