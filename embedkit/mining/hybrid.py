"""Hybrid candidates: what other retrievers find for the same queries, fused with what the miner's encoder finds.

To add a retriever: write a class, then add it to `AnyRetriever`.
"""

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal

import numpy as np
from pydantic import Field, JsonValue, NonNegativeFloat, PositiveFloat

from embedkit.core.spec import ModelRef, Spec
from embedkit.core.stage import Artifact, Context
from embedkit.mining.filters import NONE, Mask, Rows, Scores, unique_names
from embedkit.mining.fusion import ReciprocalRank, fuse_lists
from embedkit.mining.teacher import Scorer
from embedkit.retrieval.index import AnyIndex, Exact

if TYPE_CHECKING:
    from embedkit.mining.ground import Block, Ground

FUSION: Final = ReciprocalRank()


@dataclass(frozen=True)
class Finder:
    """A retriever opened over the documents of a ground."""

    search: Callable[["Block", int], tuple[Rows, Scores]]
    """A block and top_k, at most n -> rows and scores, both (Q, top_k), of the best of n documents, best first, equal
    scores by row; -1 where a query has fewer."""
    score: Scorer  # its scores of any documents for queries of the ground
    facts: Mapping[str, JsonValue]  # what it searches with
    exact: bool = True  # as of a `Searcher`


class Retriever(Spec, abc.ABC):
    """Finds candidates the miner's encoder may miss. Its list counts `weight` times the encoder's own."""

    kind: str
    weight: PositiveFloat = 1.0

    @abc.abstractmethod
    def open(self, ground: "Ground", some: Rows | None, inputs: Mapping[str, Artifact], context: Context) -> Finder:
        """Make ready to search the ground's documents: all, or `some` rows. Encoding and indexing are done here."""

    def check_installed(self) -> None:
        """Raise `EmbedkitError` if a library it needs is not installed. Imports nothing."""


class BM25Search(Retriever):
    """Word matching, see `embedkit.mining.bm25.BM25Index`: good at names and rare words, which vectors blur.

    Which words are rare is that of the whole corpus, also where only a part of it is searched.
    """

    kind: Literal["bm25"] = "bm25"
    k1: NonNegativeFloat = 1.2
    b: Annotated[float, Field(ge=0, le=1)] = 0.75

    def open(self, ground: "Ground", some: Rows | None, inputs: Mapping[str, Artifact], context: Context) -> Finder:
        from embedkit.mining.bm25 import open_index, search_words, word_scorer

        index = open_index(ground.documents, context, k1=self.k1, b=self.b)

        def search(block: "Block", top_k: int) -> tuple[Rows, Scores]:
            return search_words(index, block.texts, top_k, context, some=some)

        return Finder(search, word_scorer(index, context), {"index": self.kind, "words": len(index.words)})


class EncoderSearch(Retriever):
    """The nearest vectors of another embedding model."""

    kind: Literal["encoder"] = "encoder"
    model: ModelRef
    index: AnyIndex = Exact()

    def open(self, ground: "Ground", some: Rows | None, inputs: Mapping[str, Artifact], context: Context) -> Finder:
        from embedkit.mining.lists import vector_scorer
        from embedkit.mining.pool import Pool
        from embedkit.retrieval.encoder import open_encoder

        encoder = open_encoder(inputs[self.model].path, context)
        queries, documents = encoder.stored("query", ground.texts), encoder.stored("document", ground.documents)
        pool = Pool.open(self.index, documents, some, queries, context)

        def search(block: "Block", top_k: int) -> tuple[Rows, Scores]:
            return pool.search(queries[block.queries.start : block.queries.stop], top_k, context.progress)

        return Finder(search, vector_scorer(encoder, documents, ground.texts), pool.searcher.facts, pool.searcher.exact)

    def check_installed(self) -> None:
        self.index.check_installed()


AnyRetriever = Annotated[BM25Search | EncoderSearch, Field(discriminator="kind")]


def names_of(retrievers: Sequence[Retriever]) -> tuple[str, ...]:
    """What the retrievers are called besides the miner's "encoder": their kinds; one that comes again is numbered."""
    return unique_names(["encoder", *(retriever.kind for retriever in retrievers)])[1:]


@dataclass(frozen=True)
class Hybrid:
    """Retrievers at work beside the miner's encoder."""

    finders: Mapping[str, Finder]
    weights: Sequence[float]  # of their lists; that of the encoder's is 1

    @staticmethod
    def open(
        retrievers: Sequence[Retriever],
        ground: "Ground",
        inputs: Mapping[str, Artifact],
        context: Context,
        *,
        some: Rows | None = None,
    ) -> "Hybrid | None":
        """Retrievers of the ground's documents, all or `some` rows, which ascend. None if there are no retrievers."""
        named = zip(names_of(retrievers), retrievers, strict=True)
        finders = {name: retriever.open(ground, some, inputs, context) for name, retriever in named}
        return Hybrid(finders, [retriever.weight for retriever in retrievers]) if finders else None

    @property
    def exact(self) -> bool:
        """Whether all of them are."""
        return all(finder.exact for finder in self.finders.values())

    def fuse(self, lists: Sequence[tuple[Rows, Scores]]) -> tuple[Rows, Scores, dict[str, Mask]]:
        """Of the encoder's list and the finders', each rows and scores (Q, K_t): the fused list's rows (Q, K), the
        encoder's scores, NaN where it did not find the document, and which retriever found what."""
        rows, scores = [some for some, _ in lists], [some for _, some in lists]
        fused = fuse_lists(rows, scores, [1.0, *self.weights], FUSION)
        found = {name: places != NONE for name, places in zip(("encoder", *self.finders), fused.places, strict=True)}
        own = np.take_along_axis(scores[0], np.maximum(fused.places[0], 0), axis=1)
        return fused.rows, np.where(found["encoder"], own, np.float32(np.nan)), found
