"""BM25: how well a document's words match a query's."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import bm25s
import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from embedkit.core.progress import Advance
from embedkit.core.stage import Context
from embedkit.core.store import digests, sync_tree, write_atomically
from embedkit.core.text import WITHOUT_SPACES, normalised
from embedkit.mining.filters import NONE, Rows, Scores
from embedkit.mining.teacher import Scorer

Floats = NDArray[np.float32]
Counts = NDArray[np.int32]
_WORD: Final = re.compile(rf"[{WITHOUT_SPACES}]|[^\W{WITHOUT_SPACES}]+")
_AT_A_TIME: Final = 4096  # documents whose words are in memory while the index is built
_COUNTS: Final = 1 << 21  # likewise, counts of a word in a document
_DATA, _INDICES, _INDPTR = (f"{name}.csc.index.npy" for name in ("data", "indices", "indptr"))  # bm25s' own names
_WORDS, _SEAL = "words.txt", "complete.json"


class BM25Index:
    """A BM25 index of N documents, held as the scores of every word in every document that has it.

        s(q, d) = Σ_{w in q} ln(1 + (N − n_w + ½) / (n_w + ½)) · f(w, d) / (f(w, d) + k1 · (1 − b + b · |d| / avg|d|))

    f counts w in d, n_w the documents that have w; a word that stands twice in the query counts twice. This is the
    form Lucene computes. No stemming and no stop words, so no language is assumed. The scores are memory-mapped: only
    the vocabulary is in memory, and while the index is made, a few documents. bm25s scores queries.
    Reference: Kamphuis et al. (2020), https://doi.org/10.1007/978-3-030-45442-5_4; Lù (2024), https://arxiv.org/abs/2407.03618.
    """

    def __init__(self, folder: Path) -> None:
        """Open an index that `BM25Index.open` has made."""
        facts = json.loads((folder / _SEAL).read_text(encoding="utf-8"))
        self.size: int = facts["documents"]
        with (folder / _WORDS).open(encoding="utf-8", newline="\n") as file:
            self.vocabulary = {line[:-1]: number for number, line in enumerate(file)}
        self._index = bm25s.BM25(method="lucene", backend="numpy")
        self._index.nonoccurrence_array = None
        if self.vocabulary:
            self._index.load_scores(folder, num_docs=self.size, mmap=True)

    @staticmethod
    def open(
        documents: Sequence[str], folder: Path, *, k1: float, b: float, advance: Advance = lambda _: None
    ) -> "BM25Index":
        """The index in `folder`, made first unless a whole, undamaged one of these documents is there."""
        if not _intact(folder, {"documents": len(documents), "texts": _digest(documents), "k1": k1, "b": b}):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            _Building(folder, k1=k1, b=b).build(documents, advance)
        return BM25Index(folder)

    def scores(self, query: str) -> Floats:
        """(N,) scores of every document; zeros where no word of the query is in it."""
        known = self._numbers(query)
        if not known:
            return np.zeros(self.size, dtype=np.float32)
        scores: Floats = self._index.get_scores_from_ids(known)
        return scores

    def scores_of(self, query: str, rows: Rows) -> Floats:
        """(n,) the scores of these documents, bit for bit; what the words' lists say of others is not read."""
        scores, wanted = np.zeros(len(rows), dtype=np.float32), rows.astype(np.int32)
        for number in self._numbers(query):
            start, end = (int(self._index.scores["indptr"][n]) for n in (number, number + 1))
            having = self._index.scores["indices"][start:end]
            places = np.minimum(np.searchsorted(having, wanted), len(having) - 1)
            found = having[places] == wanted
            scores[found] += self._index.scores["data"][start:end][places[found]]
        return scores

    def _numbers(self, query: str) -> list[int]:
        return [self.vocabulary[word] for word in words(query) if word in self.vocabulary]

    def search(self, query: str, top_k: int) -> tuple[Rows, Floats]:
        """(top_k,) rows and scores of the best documents with a word of the query, best first, equal scores by row;
        -1 and 0 behind them."""
        scores = self.scores(query)
        rows = np.flatnonzero(scores)
        if len(rows) > top_k:
            last = np.partition(scores[rows], -top_k)[-top_k]
            above, equal = rows[scores[rows] > last], rows[scores[rows] == last]
            rows = np.concatenate([above, equal[: top_k - len(above)]])
        rows = rows[np.lexsort((rows, -scores[rows]))]
        missing = (0, top_k - len(rows))
        return np.pad(rows, missing, constant_values=NONE), np.pad(scores[rows], missing)


class _Building:
    """Makes an index: first how often each word is in each document, document by document; then the same by word."""

    def __init__(self, folder: Path, *, k1: float, b: float) -> None:
        self.folder, self.k1, self.b = folder, k1, b
        self.vocabulary: dict[str, int] = {}
        self.lengths: list[Counts] = []

    def build(self, documents: Sequence[str], advance: Advance) -> None:
        """Write all files, the seal last."""
        draft, texts = self.folder / "counts.tmp", blake2b(digest_size=16)
        with draft.open("wb") as file:
            for some in _chunks(documents):
                _add(texts, some)
                self._count(some, first=sum(map(len, self.lengths))).tofile(file)
                advance(len(some))
        if self.vocabulary:
            self._turn(np.memmap(draft, dtype=np.int32, mode="r").reshape(-1, 3), np.concatenate(self.lengths))
        draft.unlink()
        lines = "".join(f"{word}\n" for word in self.vocabulary)
        (self.folder / _WORDS).write_text(lines, encoding="utf-8", newline="\n")
        facts = {"documents": len(documents), "texts": texts.hexdigest(), "k1": self.k1, "b": self.b}
        sync_tree(self.folder)
        write_atomically(self.folder / _SEAL, json.dumps({**facts, "files": digests(self.folder)}, indent=1))

    def _count(self, documents: Sequence[str], *, first: int) -> Counts:
        """(n, 3): word, document and how often it has the word, by document; the first document's row is `first`."""
        number = self.vocabulary.setdefault
        ids = [[number(word, len(self.vocabulary)) for word in words(text)] for text in documents]
        self.lengths.append(np.array(list(map(len, ids)), dtype=np.int32))
        size = max(1, len(self.vocabulary))
        flat = np.fromiter(chain.from_iterable(ids), dtype=np.int64)
        keys, counts = np.unique(np.repeat(np.arange(len(ids)), self.lengths[-1]) * size + flat, return_counts=True)
        return np.stack([keys % size, keys // size + first, counts], axis=1).astype(np.int32)

    def _turn(self, counts: Counts, lengths: Counts) -> None:
        """Write scores and documents word by word, from counts document by document."""
        having = np.zeros(len(self.vocabulary), dtype=np.int64)  # documents that have the word
        parts = [slice(start, start + _COUNTS) for start in range(0, len(counts), _COUNTS)]
        for part in parts:
            having += np.bincount(counts[part, 0], minlength=len(having))
        ends = np.cumsum(having)
        np.save(self.folder / _INDPTR, np.concatenate([[0], ends]), allow_pickle=False)
        rarity = np.log(1 + (len(lengths) - having + 0.5) / (having + 0.5))
        long = self.k1 * (1 - self.b + self.b * lengths / lengths.mean())
        scores = open_memmap(self.folder / _DATA, mode="w+", dtype=np.float32, shape=(len(counts),))
        documents = open_memmap(self.folder / _INDICES, mode="w+", dtype=np.int32, shape=(len(counts),))
        free = ends - having  # each word's next place
        for part in parts:
            word, document, count = counts[part][np.argsort(counts[part, 0], kind="stable")].T
            present, starts, sizes = np.unique(word, return_index=True, return_counts=True)
            places = np.repeat(free[present] - starts, sizes) + np.arange(len(word))
            scores[places] = rarity[word] * count / (count + long[document])
            documents[places] = document
            free[present] += sizes
        scores.flush()
        documents.flush()


def open_index(documents: Sequence[str], context: Context, *, k1: float, b: float) -> BM25Index:
    """The stage's index of these documents, kept in its work folder."""
    folder = context.work / f"bm25-{k1:g}-{b:g}"
    with context.progress("index words", len(documents)) as advance:
        return BM25Index.open(documents, folder, k1=k1, b=b, advance=advance)


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


def search_words(index: BM25Index, queries: Sequence[str], top_k: int, context: Context) -> tuple[Rows, Floats]:
    """(Q, top_k) rows and scores of each query's best documents, as `BM25Index.search` gives them."""
    rows, scores = np.empty((len(queries), top_k), dtype=np.int64), np.empty((len(queries), top_k), dtype=np.float32)
    with context.progress("search words", len(queries)) as advance:
        for place, query in enumerate(queries):
            rows[place], scores[place] = index.search(query, top_k)
            advance(1)
    return rows, scores


def words(text: str) -> list[str]:
    """The words of a text, case folded; scripts without spaces between words count every character as one."""
    return _WORD.findall(normalised(text))


def _intact(folder: Path, wanted: Mapping[str, Any]) -> bool:
    """Whether the index in `folder` was made to its end, of this, and is what was written."""
    try:
        found = json.loads((folder / _SEAL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    files = digests(folder)
    files.pop(_SEAL)
    return bool(found == {**wanted, "files": files})


def _digest(documents: Sequence[str]) -> str:
    texts = blake2b(digest_size=16)
    for some in _chunks(documents):
        _add(texts, some)
    return texts.hexdigest()


def _add(texts: "blake2b", documents: Sequence[str]) -> None:
    for text in documents:
        raw = text.encode(errors="surrogatepass")
        texts.update(len(raw).to_bytes(8, "little") + raw)


def _chunks(documents: Sequence[str]) -> Iterator[list[str]]:
    """The documents, some in memory at a time."""
    rest = iter(documents)
    while some := list(islice(rest, _AT_A_TIME)):
        yield some
