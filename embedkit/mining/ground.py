"""What is mined: a split's queries, the corpus, their vectors, and what is judged. Nothing large is in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from embedkit.core.columns import places
from embedkit.core.errors import DataError
from embedkit.core.pairs import Pair, pairs_of
from embedkit.core.records import Corpus, Qrels, Queries
from embedkit.core.stage import Context
from embedkit.mining.filters import Rows
from embedkit.mining.known import Judgements, Known
from embedkit.mining.near_queries import NearQueries
from embedkit.retrieval.encoder import StoredEncoder
from embedkit.retrieval.nearest import Vectors

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Ground:
    """Q judged queries of a split and the N documents of the corpus."""

    pairs: Sequence[Pair]  # Q, in the order of the qrels
    texts: Sequence[str]  # Q, the queries'
    corpus: Corpus
    documents: Sequence[str]  # N, what encoders are given
    queries: Vectors  # (Q, D)
    vectors: Vectors  # (N, D)
    judgements: Judgements
    near: NearQueries | None = None

    @staticmethod
    def open(
        encoder: StoredEncoder,
        corpus: Corpus,
        queries: Queries,
        qrels: Qrels,
        context: Context,
        *,
        near_queries: float | None = None,
    ) -> "Ground":
        """Encode what is not encoded yet. Raises `DataError` if no query is judged, or if what is judged is not there.

        `near_queries`: queries with at least this cosine share their positives.
        """
        pairs = pairs_of(qrels)
        if not pairs:
            raise DataError("data: no query of this split has a relevant document; there is nothing to mine for")
        own = _rows("queries", queries.ids, [pair.query_id for pair in pairs])
        texts, documents = [queries.texts[row] for row in own], corpus.documents()
        relevant = _relevant(corpus, pairs)
        with context.progress("read texts", None):
            judgements = Judgements(texts, documents, relevant)
        vectors, asked = encoder.stored("document", documents), encoder.stored("query", texts)
        near = None if near_queries is None else NearQueries(asked, near_queries)
        return Ground(pairs, texts, corpus, documents, asked, vectors, judgements, near)

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def relevant(self) -> Sequence[Rows]:
        """Per query, the rows judged relevant to it, the most relevant first."""
        return self.judgements.relevant

    @property
    def positives(self) -> Rows:
        """Rows of all documents that are relevant to some query, in ascending order."""
        return np.unique(np.concatenate(self.relevant))

    def known(self, queries: range) -> Known:
        """What can be no negative of these queries."""
        return self.judgements.known(queries, None if self.near is None else self.near.of(queries))


@dataclass(frozen=True)
class Block:
    """Some queries of the ground, the unit of work: what is made of them is written before the next are begun."""

    ground: Ground
    queries: range

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def pairs(self) -> Sequence[Pair]:
        """The queries' pairs."""
        return self.ground.pairs[self.queries.start : self.queries.stop]

    @property
    def texts(self) -> Sequence[str]:
        """The queries' texts."""
        return self.ground.texts[self.queries.start : self.queries.stop]

    @property
    def relevant(self) -> Sequence[Rows]:
        """Per query, rows judged relevant, the most relevant first."""
        return self.ground.relevant[self.queries.start : self.queries.stop]

    @cached_property
    def vectors(self) -> Floats:
        """(Q, D), the queries'."""
        return self.ground.queries[self.queries.start : self.queries.stop]

    @cached_property
    def known(self) -> Known:
        """What can be no negative of these queries."""
        return self.ground.known(self.queries)


def blocks(ground: Ground, size: int) -> list[Block]:
    """All queries, `size` in a block."""
    ranges = (range(start, min(start + size, len(ground))) for start in range(0, len(ground), size))
    return [Block(ground, queries) for queries in ranges]


def _relevant(corpus: Corpus, pairs: Sequence[Pair]) -> list[Rows]:
    rows = _rows("corpus", corpus.ids, [doc for pair in pairs for doc in pair.positives])
    return np.split(rows, np.cumsum([len(pair.positives) for pair in pairs])[:-1])


def _rows(what: str, ids: Sequence[str], wanted: Sequence[str]) -> Rows:
    rows = places(ids, wanted)
    if (missing := np.flatnonzero(rows < 0)).size:
        raise DataError(f"data: the qrels name {wanted[missing[0]]!r}, which is not in the {what} ({len(ids):,} rows)")
    return rows
