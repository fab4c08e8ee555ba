"""Weak pairs: queries and their documents made from unlabelled text alone."""

import abc
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from embedkit.core.estimate import Size
from embedkit.core.pairs import Pair, Pairs
from embedkit.core.records import Corpus, Queries
from embedkit.core.spec import Spec
from embedkit.core.text import normalised


@dataclass(frozen=True)
class WeakPair:
    """A generated query and its positive, made from row `source` of a corpus; `name` tells pairs of one row apart."""

    source: int
    name: str
    query: str
    positive: str


class WeakPairs(Spec, abc.ABC):
    """A way to make pairs of unlabelled documents."""

    kind: str

    @abc.abstractmethod
    def make(self, corpus: Corpus, rng: np.random.Generator, skipped: Counter[str]) -> list[WeakPair]:
        """Pairs in the order of the corpus; `skipped` counts documents that gave none, by reason."""

    @abc.abstractmethod
    def size(self, corpus: Size) -> Size:
        """About how many pairs of what length."""


class TitleBody(WeakPairs):
    """The title is the query, the text its positive."""

    kind: Literal["title_body"] = "title_body"
    shared_by: PositiveInt = 10  # a title that more documents have is no query: it could mean any of them

    def make(self, corpus: Corpus, rng: np.random.Generator, skipped: Counter[str]) -> list[WeakPair]:
        """At most one pair a document."""
        titles = [normalised(title) for title in corpus.titles]
        counts = Counter(titles)
        pairs = []
        for i, (title, text) in enumerate(zip(corpus.titles, corpus.texts, strict=True)):
            if not titles[i] or not text.strip():
                skipped["without title or text"] += 1
            elif titles[i] == normalised(text):
                skipped["title equal to text"] += 1
            elif counts[titles[i]] > self.shared_by:
                skipped[f"title shared by more than {self.shared_by}"] += 1
            else:
                pairs.append(WeakPair(i, "title", title.strip(), text.strip()))
        return pairs

    def size(self, corpus: Size) -> Size:
        """One pair a document."""
        n = corpus.documents
        return Size(documents=n, queries=n, pairs=n, document_tokens=corpus.document_tokens, query_tokens=4.0)


class Crops(WeakPairs):
    """Two independent random crops of a document: runs of words of random length and place, which may overlap.

    A document of n words gives crops of ⌊r n⌋ words, r uniform in `share`, but never fewer than `min_words`, which is
    what widens the range for short documents; then each word goes with probability `deletion`.
    Reference: Izacard et al. (2022), Unsupervised Dense Information Retrieval with Contrastive Learning
    (Contriever), https://arxiv.org/abs/2112.09118, section 3.1; there share [0.05, 0.5] of 256 tokens, deletion 0.1.
    """

    kind: Literal["crops"] = "crops"
    per_document: PositiveInt = 1
    share: tuple[float, float] = (0.05, 0.5)
    min_words: PositiveInt = 4
    deletion: Annotated[float, Field(ge=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _ordered(self) -> "Crops":
        low, high = self.share
        if not 0 < low <= high <= 1:
            raise ValueError(f"share is [{low}, {high}]; expected two shares of a document, 0 < low <= high <= 1")
        return self

    def make(self, corpus: Corpus, rng: np.random.Generator, skipped: Counter[str]) -> list[WeakPair]:
        """`per_document` pairs of every document that has at least twice `min_words` words."""
        pairs = []
        for i, text in enumerate(corpus.full_texts()):
            words = text.split()
            if len(words) < 2 * self.min_words:
                skipped[f"shorter than {2 * self.min_words} words"] += 1
                continue
            for number in range(self.per_document):
                query, positive = self.crop(words, rng), self.crop(words, rng)
                if normalised(query) == normalised(positive):
                    skipped["both crops equal"] += 1
                else:
                    pairs.append(WeakPair(i, f"crop{number}", query, positive))
        return pairs

    def crop(self, words: Sequence[str], rng: np.random.Generator) -> str:
        """One random crop."""
        length = max(self.min_words, int(rng.uniform(*self.share) * len(words)))
        start = int(rng.integers(0, len(words) - length + 1))
        crop = words[start : start + length]
        kept = [word for word, drawn in zip(crop, rng.random(length), strict=True) if drawn >= self.deletion]
        return " ".join(kept or crop)

    def size(self, corpus: Size) -> Size:
        """`per_document` pairs of every document, each side the mean share long."""
        n = corpus.documents * self.per_document
        tokens = max(1.3 * self.min_words, corpus.document_tokens * sum(self.share) / 2) * (1 - self.deletion)
        return Size(documents=n, queries=n, pairs=n, document_tokens=tokens, query_tokens=tokens)


AnyWeakPairs = Annotated[TitleBody | Crops, Field(discriminator="kind")]


def collect(corpus: Corpus, made: Sequence[WeakPair], held_out: frozenset[str]) -> Pairs:
    """Generated texts as a pairs artifact; ids are `<doc_id>#<name>`.

    A pair with a text that equals a held-out query (`held_out` has their normalised texts) is left out. Known to be
    relevant to a query are all texts made from its document, and from any other document that gave the same query.
    """
    kept = [p for p in made if not {normalised(p.query), normalised(p.positive)} & held_out]
    ids = [f"{corpus.ids[p.source]}#{p.name}" for p in kept]
    texts_of: dict[int, list[str]] = {}
    sources_of: dict[str, dict[int, None]] = {}
    for key, pair in zip(ids, kept, strict=True):
        texts_of.setdefault(pair.source, []).append(key)
        sources_of.setdefault(normalised(pair.query), {})[pair.source] = None
    rows = []
    for key, pair in zip(ids, kept, strict=True):
        family = [k for source in sources_of[normalised(pair.query)] for k in texts_of[source]]
        rows.append(Pair(key, (key,), known=(key, *(k for k in family if k != key))))
    documents = Corpus(ids, [""] * len(kept), [p.positive for p in kept])
    return Pairs(documents, Queries(ids, [p.query for p in kept]), rows)
