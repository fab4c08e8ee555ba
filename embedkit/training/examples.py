"""Pairs as training sees them: distinct texts by number, and rows that say which texts belong together.

Texts stay in the files they were read from and rows in arrays; what is asked for by number is made then.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, overload

import numpy as np
from numpy.typing import NDArray

from embedkit.core.columns import Picked, taken
from embedkit.core.errors import DataError
from embedkit.core.memory import release
from embedkit.core.pairs import Pairs
from embedkit.core.records import open_corpus, open_queries
from embedkit.losses.base import Need
from embedkit.training.classes import classes_of
from embedkit.training.lists import Lists, Places, Sets, Sparse
from embedkit.training.reading import Read, Table, read_file, read_values

_AT_A_TIME: Final = 4096  # rows that are Python objects at a time


@dataclass(frozen=True)
class Row:
    """One training query. Texts are numbers; equal texts have equal numbers, whatever their ids."""

    query_id: str
    query: int
    positives: tuple[int, ...]
    negatives: tuple[int, ...] = ()
    positive_targets: tuple[float, ...] = ()
    negative_targets: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Rows(Sequence[Row]):
    """R rows as arrays. A `Row` is made when it is asked for."""

    ids: Sequence[str]  # of the table of queries
    places: Places  # (R,) which of them is the row's
    queries: Places  # (R,) numbers of texts
    positives: Lists
    negatives: Lists
    positive_targets: NDArray[Any]  # of every entry of `positives`
    negative_targets: NDArray[Any]

    @staticmethod
    def of(rows: Sequence[Row]) -> "Rows":
        """These rows."""
        return Rows(
            ids=[row.query_id for row in rows],
            places=np.arange(len(rows)),
            queries=np.array([row.query for row in rows], dtype=np.int64),
            positives=Lists.of([row.positives for row in rows]),
            negatives=Lists.of([row.negatives for row in rows]),
            positive_targets=np.array([target for row in rows for target in row.positive_targets]),
            negative_targets=np.array([target for row in rows for target in row.negative_targets]),
        )

    def __len__(self) -> int:
        return len(self.queries)

    @overload
    def __getitem__(self, number: int) -> Row: ...
    @overload
    def __getitem__(self, number: slice) -> list[Row]: ...
    def __getitem__(self, number: int | slice) -> Row | list[Row]:
        numbers = range(len(self))[number]
        return self.take([numbers])[0] if isinstance(numbers, int) else self.take(numbers)

    def __iter__(self) -> Iterator[Row]:
        for start in range(0, len(self), _AT_A_TIME):
            yield from self[start : start + _AT_A_TIME]

    def take(self, numbers: Sequence[int]) -> list[Row]:
        """Some of the rows."""
        rows = np.array(numbers, dtype=np.int64)
        lists = (
            self.positives.take(rows),
            self.negatives.take(rows),
            Lists(self.positives.offsets, self.positive_targets).take(rows),
            Lists(self.negatives.offsets, self.negative_targets).take(rows),
        )
        parts = ([tuple(some) for some in part.python()] for part in lists)
        return list(map(Row, taken(self.ids, self.places[rows]), self.queries[rows].tolist(), *parts))


@dataclass(frozen=True)
class Examples:
    """All rows training can use."""

    queries: Sequence[str]  # text by number
    documents: Sequence[str]
    rows: Rows
    known: Sets  # by query: documents relevant to it, its positives included
    skipped: Mapping[str, int]  # why a row or negative was left out -> how many
    suspects: Mapping[int, frozenset[int]] = field(default_factory=dict)  # by query: documents that may be relevant
    taught: Mapping[int, Mapping[int, float]] = field(default_factory=dict)  # by query: targets from all of its rows
    query_classes: Mapping[int, int] = field(default_factory=dict)  # of texts that have one
    document_classes: Mapping[int, int] = field(default_factory=dict)

    def asked(self) -> Sequence[str]:
        """The distinct texts of the rows' queries. A data set's table has those of its other splits as well."""
        return Picked(self.queries, np.unique(self.rows.queries))


def examples_of(pairs: Pairs, *, needs: Set[Need] = frozenset()) -> Examples:
    """The rows of `pairs` that a loss with these `needs` can be trained on.

    Negatives that are known or suspected to be relevant under another id or text are dropped. A `DataError` if an id
    has no text, no row is left, or classes are needed and no query has one.
    """
    queries = Table.of("query", pairs.queries.ids, pairs.queries.texts, pairs.queries.classes)
    documents = Table.of("document", pairs.corpus.ids, pairs.corpus.documents(), pairs.corpus.classes)
    return _examples(read_values(pairs.rows, queries, documents), queries, documents, needs)


def open_examples(folder: Path, work: Path, *, needs: Set[Need] = frozenset()) -> Examples:
    """The same of a pairs or dataset artifact that may be larger than memory.

    Its texts are memory-mapped from copies in `work`, which nothing else may use; of a row some numbers are in memory.
    """
    work.mkdir(parents=True, exist_ok=True)
    asked, corpus = open_queries(folder, work), open_corpus(folder, work)
    queries = Table.of("query", asked.ids, asked.texts, asked.classes)
    documents = Table.of("document", corpus.ids, corpus.documents(), corpus.classes)
    release(cycles=False)
    read = read_file(folder, queries, documents)
    release(cycles=False)
    return _examples(read, queries, documents, needs)


def _examples(read: Read, queries: Table, documents: Table, needs: Set[Need]) -> Examples:
    width = len(documents)
    known = read.documents_by_query(("positives", "known"), queries=len(queries), documents=width)
    suspects = read.documents_by_query(("suspects",), queries=len(queries), documents=width, but=known)
    usable, skipped = _usable(read, queries, needs)
    if not usable.any():
        found = ", ".join(f"{n} {why}" for why, n in sorted(skipped.items())) or "it is empty"
        raise DataError(f"pairs: none of {len(read)} rows can be trained on: {found}")
    read = read.take(np.flatnonzero(usable)) if skipped else read
    rows, dropped = _rows(read, queries, width, known, suspects)
    of_queries, of_documents = classes_of(queries, documents, read.queries, known) if "classes" in needs else ({}, {})
    return Examples(
        queries=queries.texts,
        documents=documents.texts,
        rows=rows,
        known=Sets(known),
        skipped=dict(sorted({**skipped, **dropped}.items())),
        suspects=Sparse(suspects.filled, suspects.set),
        taught=_taught(read, queries, width) if "taught" in needs else {},
        query_classes=of_queries,
        document_classes=of_documents,
    )


def _usable(read: Read, queries: Table, needs: Set[Need]) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """(R,) which rows can be trained on; and how many of the others for which reason, the first that holds."""
    positives, negatives = read.lists["positives"], read.lists["negatives"]
    reasons = {"rows with an empty query": queries.blank[read.queries], "rows without a positive": ~positives.filled}
    if "targets" in needs:
        reasons["rows without target scores"] = ~(read.scored("positives") & read.scored("negatives"))
    if "negatives" in needs:
        reasons["rows without negatives"] = ~negatives.filled
    usable, skipped = np.ones(len(read), dtype=np.bool_), {}
    for reason, holds in reasons.items():
        if count := int(np.count_nonzero(usable & holds)):
            skipped[reason] = count
        usable &= ~holds
    return usable, skipped


def _rows(read: Read, queries: Table, width: int, known: Lists, suspects: Lists) -> tuple[Rows, dict[str, int]]:
    """The rows, every document once in each; and how many negatives were dropped as relevant."""
    first = read.lists["positives"].first(width)
    candidates = read.lists["negatives"].first(width)
    keys = read.lists["negatives"].keys(width, read.queries)
    relevant, suspected = known.has(keys, width) & candidates, suspects.has(keys, width) & candidates
    kept = candidates & ~relevant & ~suspected
    rows = Rows(
        ids=queries.ids,
        places=read.places,
        queries=read.queries,
        positives=read.lists["positives"].kept(first),
        negatives=read.lists["negatives"].kept(kept),
        positive_targets=read.targets("positives")[first],
        negative_targets=read.targets("negatives")[kept],
    )
    dropped = {
        "negatives known to be relevant": int(np.count_nonzero(relevant)),
        "negatives that may be relevant": int(np.count_nonzero(suspected)),
    }
    return rows, {why: count for why, count in dropped.items() if count}


def _taught(read: Read, queries: Table, width: int) -> Mapping[int, Mapping[int, float]]:
    """By query, the targets that its rows give its documents; the first one of each counts."""
    both = [read.lists[name] for name in ("positives", "negatives")]
    order = np.argsort(np.concatenate([lists.owners for lists in both]), kind="stable")  # row by row
    keys = np.concatenate([lists.keys(width, read.queries) for lists in both])[order]
    targets = np.concatenate([read.targets(name) for name in ("positives", "negatives")])[order]
    distinct, first = np.unique(keys, return_index=True)
    documents = Lists.of_keys(distinct, lists=len(queries), width=width)
    return Sparse(documents.filled, _Scores(documents, targets[first]).of)


@dataclass(frozen=True, eq=False)
class _Scores:
    """A score of every entry of some lists."""

    lists: Lists
    values: NDArray[Any]

    def of(self, number: int) -> dict[int, float]:
        """Entry -> score, of one list."""
        return dict(zip(self.lists[number].tolist(), self.values[self.lists.part(number)].tolist(), strict=True))
