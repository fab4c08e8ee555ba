"""Which documents can be no query's negative, by what is already known. Pure.

Judgements are closed over equal texts: what is relevant to a query is relevant to every query of the same text, and
what has the text of a relevant document is as relevant as that. Texts are the same when `normalised` says so.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedkit.core.text import normalised
from embedkit.mining.filters import Rows
from embedkit.mining.ragged import Lists

Digests = NDArray[np.uint64]
NEAR_QUERY: Final = "positive_of_near_query"
_NOTHING: Final = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Known:
    """Per query, corpus rows in ascending order; no row is in two of the lists of one query."""

    relevant: Sequence[Rows]  # judged relevant to the query, or to a query of the same text
    same_text: Sequence[Rows]  # not so judged, but of the same text as one that is
    same_as_query: Sequence[Rows]  # of the query's own text
    others: Mapping[str, Sequence[Rows]] = field(default_factory=lambda: MappingProxyType({}))  # reason -> rows

    def reasons(self) -> Mapping[str, Sequence[Rows]]:
        """Why a document is excluded -> the documents of each query, in the order the reasons apply."""
        return {
            "known_positive": self.relevant,
            "duplicate_of_positive": self.same_text,
            "same_text_as_query": self.same_as_query,
            **self.others,
        }

    def doubtful(self) -> list[Sequence[Rows]]:
        """The lists of documents that are excluded without being known to be relevant."""
        return [self.same_as_query, *self.others.values()]

    def positives(self, query: int) -> Rows:
        """All rows that count as relevant to the query."""
        return np.concatenate([self.relevant[query], self.same_text[query]])

    def all_positives(self, query: int, first: Rows) -> Rows:
        """The same, those of `first` before the others."""
        if len(first) == len(self.relevant[query]) and not len(self.same_text[query]):
            return first
        rows = self.positives(query)
        return np.concatenate([first, rows[~np.isin(rows, first)]])

    def most(self) -> int:
        """The most documents any query excludes."""
        lists = zip(*self.reasons().values(), strict=True)
        return max((sum(len(rows) for rows in query) for query in lists), default=0)


class Judgements:
    """What is judged of N documents for Q queries. Of the texts only digests are held, 8 bytes each."""

    def __init__(self, queries: Iterable[str], documents: Iterable[str], relevant: Sequence[Rows]) -> None:
        self.relevant = relevant
        self._documents, self._queries = _Equal(documents), _Equal(queries)

    def known(self, queries: range, near: Sequence[Rows] | None = None) -> Known:
        """What is known for these queries; `near`: for each, other queries whose positives are no negatives of it."""
        judged, same, asked = [], [], []
        for query, plain in zip(queries, self._plain(queries), strict=True):
            if plain:
                judged.append(np.unique(self.relevant[query]))
                same.append(_NOTHING)
                asked.append(_NOTHING)
                continue
            rows = _union(self.relevant[other] for other in self._queries.like(self._queries.digests[query]))
            alike = _union(self._documents.like(self._documents.digests[row]) for row in rows)
            judged.append(rows)
            same.append(np.setdiff1d(alike, rows, assume_unique=True))
            asked.append(np.setdiff1d(self._documents.like(self._queries.digests[query]), alike, assume_unique=True))
        known = Known(judged, same, asked)
        return known if near is None else replace(known, others={NEAR_QUERY: self._near(known, near)})

    def owners(self, rows: Rows) -> Lists:
        """For each of these documents, the queries that it, or one of the same text, is judged relevant to."""
        digests, owners = self._owned
        starts = np.searchsorted(digests, self._documents.digests[rows], "left")
        return Lists(owners, starts, np.searchsorted(digests, self._documents.digests[rows], "right") - starts)

    @cached_property
    def _owned(self) -> tuple[Digests, Rows]:
        """Texts' digests and the queries they are judged relevant to, in the order of the digests."""
        digests = self._documents.digests[np.concatenate([*self.relevant, _NOTHING])]
        owners = np.repeat(np.arange(len(self.relevant)), [len(rows) for rows in self.relevant])
        order = np.argsort(digests, kind="stable")
        return digests[order], owners[order]

    def _near(self, known: Known, near: Sequence[Rows]) -> list[Rows]:
        """What is relevant to near queries, and all of the same text, besides what is known otherwise."""
        found = []
        for query, others in enumerate(near):
            rows = _union(self.relevant[other] for other in others)
            alike = _union(self._documents.like(digest) for digest in np.unique(self._documents.digests[rows]))
            own = np.concatenate([known.positives(query), known.same_as_query[query]])
            found.append(np.setdiff1d(alike, own, assume_unique=True))
        return found

    def _plain(self, queries: range) -> NDArray[np.bool_]:
        """(Q,) whether no text of the query or of a document judged for it stands anywhere else."""
        if not len(queries):
            return np.zeros(0, dtype=np.bool_)
        own = self._queries.digests[queries.start : queries.stop]
        judged = self.relevant[queries.start : queries.stop]
        single = self._documents.counts(self._documents.digests[np.concatenate(judged)]) == 1
        starts = np.cumsum([0, *map(len, judged[:-1])])
        alone = (self._queries.counts(own) == 1) & (self._documents.counts(own) == 0)
        return np.asarray(np.logical_and.reduceat(single, starts) & alone, dtype=np.bool_)


class _Equal:
    """Which of n texts are equal."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.digests: Digests = np.fromiter((_digest(text) for text in texts), dtype=np.uint64)
        self._order: Rows = np.argsort(self.digests, kind="stable")
        self._sorted = self.digests[self._order]

    def like(self, digest: np.uint64) -> Rows:
        """Rows of the texts with this digest, in ascending order."""
        start, end = np.searchsorted(self._sorted, digest, "left"), np.searchsorted(self._sorted, digest, "right")
        return self._order[start:end]

    def counts(self, digests: Digests) -> Rows:
        """How many texts have each of these digests."""
        ends = np.searchsorted(self._sorted, digests, "right")
        return np.asarray(ends - np.searchsorted(self._sorted, digests, "left"), dtype=np.int64)


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(normalised(text).encode(errors="surrogatepass"), digest_size=8).digest(), "little")


def _union(lists: Iterable[Rows]) -> Rows:
    return np.unique(np.concatenate([*lists, _NOTHING]))
