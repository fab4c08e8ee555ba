"""BM25: how well a document's words match a query's."""

import json
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
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
Digests = NDArray[np.uint64]
_WORD: Final = re.compile(rf"[{WITHOUT_SPACES}]|[^\W{WITHOUT_SPACES}]+")
_AT_A_TIME: Final = 4096  # documents whose words are in memory while the index is built
_COUNTS: Final = 1 << 21  # likewise, counts of a word in a document
_DATA, _INDICES, _INDPTR = (f"{name}.csc.index.npy" for name in ("data", "indices", "indptr"))  # bm25s' own names
_WORDS, _SEAL = "words.npy", "complete.json"
_COUNT: Final = np.dtype([("word", np.uint64), ("document", np.int32), ("count", np.int32)])


class BM25Index:
    """A BM25 index of N documents, held as the scores of every word in every document that has it.

        s(q, d) = Σ_{w in q} ln(1 + (N − n_w + ½) / (n_w + ½)) · f(w, d) / (f(w, d) + k1 · (1 − b + b · |d| / avg|d|))

    f counts w in d, n_w the documents that have w; a word that stands twice in the query counts twice. This is the
    form Lucene computes. No stemming and no stop words, so no language is assumed. Everything is memory-mapped; words
    are 64-bit digests. The scores lie as bm25s has them, which scores whole corpora.
    Reference: Kamphuis et al. (2020), https://doi.org/10.1007/978-3-030-45442-5_4; Lù (2024), https://arxiv.org/abs/2407.03618.
    """

    def __init__(self, folder: Path) -> None:
        """Open an index that `BM25Index.open` has made."""
        self.size: int = json.loads((folder / _SEAL).read_text(encoding="utf-8"))["documents"]
        self.words: Digests = _load(folder / _WORDS)  # sorted
        self._scores, self._documents, self._starts = (_load(folder / name) for name in (_DATA, _INDICES, _INDPTR))
        self._whole = bm25s.BM25(method="lucene", backend="numpy")
        self._whole.nonoccurrence_array = None
        if len(self.words):
            self._whole.load_scores(folder, num_docs=self.size, mmap=True)

    @staticmethod
    def open(
        documents: Sequence[str], folder: Path, *, k1: float, b: float, advance: Advance = lambda _: None
    ) -> "BM25Index":
        """The index in `folder`, made first unless a whole, undamaged one of these documents is there."""
        if not _intact(folder, documents, {"documents": len(documents), "k1": k1, "b": b}):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            _Building(folder, k1=k1, b=b).build(documents, advance)
        return BM25Index(folder)

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

    def _numbers(self, query: str) -> list[int]:
        """Places of the query's words among `words`, those left out that no document has."""
        digests = _word_digests(words(query))
        places = np.minimum(np.searchsorted(self.words, digests), len(self.words) - 1)
        return places[self.words[places] == digests].tolist() if len(self.words) else []


class _Building:
    """Makes an index: first how often each word is in each document, document by document; then the same by word."""

    def __init__(self, folder: Path, *, k1: float, b: float) -> None:
        self.folder, self.k1, self.b = folder, k1, b
        self.words: Digests = np.empty(0, dtype=np.uint64)  # sorted, those of `recent` left out
        self.recent: list[Digests] = []
        self.lengths: list[NDArray[np.int32]] = []

    def build(self, documents: Sequence[str], advance: Advance) -> None:
        """Write all files, the seal last."""
        draft, texts = self.folder / "counts.tmp", blake2b(digest_size=16)
        with draft.open("wb") as file:
            for some in _chunks(documents):
                _add(texts, some)
                self._count(some, first=sum(map(len, self.lengths))).tofile(file)
                advance(len(some))
        self._gather()
        if len(self.words):
            self._turn(np.memmap(draft, dtype=_COUNT, mode="r+"), np.concatenate(self.lengths))
        else:
            for name in (_DATA, _INDICES, _INDPTR):
                np.save(self.folder / name, np.empty(0, dtype=np.int64), allow_pickle=False)
        draft.unlink()
        np.save(self.folder / _WORDS, self.words, allow_pickle=False)
        facts = {"documents": len(documents), "texts": texts.hexdigest(), "k1": self.k1, "b": self.b}
        sync_tree(self.folder)
        write_atomically(self.folder / _SEAL, json.dumps({**facts, "files": digests(self.folder)}, indent=1))

    def _count(self, documents: Sequence[str], *, first: int) -> NDArray[np.void]:
        """Which document has which word how often, by document; the first document's row is `first`."""
        numbers: dict[str, int] = {}
        ids = [[numbers.setdefault(word, len(numbers)) for word in words(text)] for text in documents]
        own = _word_digests(numbers)
        self.recent.append(own)
        self.lengths.append(np.array(list(map(len, ids)), dtype=np.int32))
        size, flat = max(1, len(numbers)), np.fromiter(chain.from_iterable(ids), dtype=np.int64)
        keys, found = np.unique(np.repeat(np.arange(len(ids)), self.lengths[-1]) * size + flat, return_counts=True)
        counts = np.empty(len(keys), dtype=_COUNT)
        counts["word"], counts["document"], counts["count"] = own[keys % size], keys // size + first, found
        if sum(map(len, self.recent)) > _COUNTS:
            self._gather()
        return counts

    def _gather(self) -> None:
        self.words = np.unique(np.concatenate([self.words, *self.recent]))
        self.recent.clear()

    def _turn(self, counts: NDArray[np.void], lengths: NDArray[np.int32]) -> None:
        """Write scores and documents word by word, from counts document by document, whose words become numbers."""
        having = np.zeros(len(self.words), dtype=np.int64)  # documents that have the word
        parts = [slice(start, start + _COUNTS) for start in range(0, len(counts), _COUNTS)]
        for part in parts:
            numbers = np.searchsorted(self.words, counts[part]["word"])
            counts[part]["word"] = numbers
            having += np.bincount(numbers, minlength=len(having))
        ends = np.cumsum(having)
        np.save(self.folder / _INDPTR, np.concatenate([[0], ends]), allow_pickle=False)
        rarity = np.log(1 + (len(lengths) - having + 0.5) / (having + 0.5))
        long = self.k1 * (1 - self.b + self.b * lengths / lengths.mean())
        scores = open_memmap(self.folder / _DATA, mode="w+", dtype=np.float32, shape=(len(counts),))
        documents = open_memmap(self.folder / _INDICES, mode="w+", dtype=np.int32, shape=(len(counts),))
        free = ends - having  # each word's next place
        for part in parts:
            some = counts[part][np.argsort(counts[part]["word"], kind="stable")]
            word, document, count = some["word"].astype(np.int64), some["document"], some["count"]
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


def _word_digests(some: Collection[str]) -> Digests:
    """(n,) 64 bits each: of ten million words, two are the same with a probability of one in 400,000."""
    raw = (blake2b(word.encode(errors="surrogatepass"), digest_size=8).digest() for word in some)
    return np.frombuffer(b"".join(raw), dtype="<u8").astype(np.uint64)


def _load(path: Path) -> NDArray[Any]:
    found: NDArray[Any] = np.load(path, mmap_mode="r" if path.stat().st_size > 128 else None, allow_pickle=False)
    return found


def _intact(folder: Path, documents: Sequence[str], facts: Mapping[str, Any]) -> bool:
    """Whether the index in `folder` was made to its end, of these documents, and is what was written."""
    try:
        found = json.loads((folder / _SEAL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    files = digests(folder)
    files.pop(_SEAL)
    return bool(found == {**facts, "texts": _digest(documents), "files": files})


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
