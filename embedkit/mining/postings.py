"""Making a BM25 index of any size: what is in memory is some documents, or some counts, at a time."""

import re
from collections.abc import Collection, Iterator, Sequence
from hashlib import blake2b
from itertools import chain, islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedkit.core.progress import Advance
from embedkit.core.text import WITHOUT_SPACES, normalised
from embedkit.retrieval.arrays import mapped_array, save_array

Digests = NDArray[np.uint64]
DATA, INDICES, INDPTR = (f"{name}.csc.index.npy" for name in ("data", "indices", "indptr"))  # bm25s' own names
WORDS: Final = "words.npy"
_WORD: Final = re.compile(rf"[{WITHOUT_SPACES}]|[^\W{WITHOUT_SPACES}]+")
_AT_A_TIME: Final = 4096  # documents whose words are in memory
_COUNTS: Final = 1 << 21  # likewise, counts of a word in a document
_COUNT: Final = np.dtype([("word", np.uint64), ("document", np.int32), ("count", np.int32)])


class Building:
    """Makes an index: first how often each word is in each document, document by document; then the same by word."""

    def __init__(self, folder: Path, *, k1: float, b: float) -> None:
        self.folder, self.k1, self.b = folder, k1, b
        self.words: Digests = np.empty(0, dtype=np.uint64)  # sorted, those of `recent` left out
        self.recent: list[Digests] = []
        self.lengths: list[NDArray[np.int32]] = []

    def build(self, documents: Sequence[str], advance: Advance) -> None:
        """Write all files."""
        draft = self.folder / "counts.tmp"
        with draft.open("wb") as file:
            for some in _chunks(documents):
                file.write(self._count(some, first=sum(map(len, self.lengths))).tobytes())
                advance(len(some))
        self._gather()
        if len(self.words):
            self._turn(np.memmap(draft, dtype=_COUNT, mode="r+"), np.concatenate(self.lengths))
        else:
            for name in (DATA, INDICES, INDPTR):
                save_array(self.folder / name, np.empty(0, dtype=np.int64))
        draft.unlink()
        save_array(self.folder / WORDS, self.words)

    def _count(self, documents: Sequence[str], *, first: int) -> NDArray[np.void]:
        """Which document has which word how often, by document; the first document's row is `first`."""
        numbers: dict[str, int] = {}
        ids = [[numbers.setdefault(word, len(numbers)) for word in words(text)] for text in documents]
        own = word_digests(numbers)
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
        save_array(self.folder / INDPTR, np.concatenate([[0], ends]))
        rarity = np.log(1 + (len(lengths) - having + 0.5) / (having + 0.5))
        long = self.k1 * (1 - self.b + self.b * lengths / lengths.mean())
        scores = mapped_array(self.folder / DATA, np.float32, len(counts))
        documents = mapped_array(self.folder / INDICES, np.int32, len(counts))
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


def words(text: str) -> list[str]:
    """The words of a text, case folded; scripts without spaces between words count every character as one."""
    return _WORD.findall(normalised(text))


def word_digests(some: Collection[str]) -> Digests:
    """(n,) 64 bits each: of ten million words, two are the same with a probability of one in 400,000."""
    raw = (blake2b(word.encode(errors="surrogatepass"), digest_size=8).digest() for word in some)
    return np.frombuffer(b"".join(raw), dtype="<u8").astype(np.uint64)


def digest_of(documents: Sequence[str]) -> str:
    """Stands for these texts in their order."""
    texts = blake2b(digest_size=16)
    for text in documents:
        raw = text.encode(errors="surrogatepass")
        texts.update(len(raw).to_bytes(8, "little") + raw)
    return texts.hexdigest()


def _chunks(documents: Sequence[str]) -> Iterator[list[str]]:
    """The documents, some in memory at a time."""
    rest = iter(documents)
    while some := list(islice(rest, _AT_A_TIME)):
        yield some
