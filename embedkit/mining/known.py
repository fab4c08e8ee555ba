"""Which documents can be no query's negative, by what is already known. Pure.

Judgements are closed over equal texts: what is relevant to a query is relevant to every query of the same text, and
what has the text of a relevant document is as relevant as that. Texts are the same when `normalised` says so.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedkit.core.text import normalised
from embedkit.mining.filters import Rows

Digests = NDArray[np.uint64]
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

    def known(self, queries: range) -> Known:
        """What is known for these queries."""
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
        return Known(judged, same, asked)

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
