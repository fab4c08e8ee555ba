"""Pairs in memory: queries with what is relevant to them and what is not. `core.records` lays the files out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from embedkit.core.records import (
    Corpus,
    Qrels,
    Queries,
    read_corpus,
    read_queries,
    read_table,
    write_corpus,
    write_queries,
    write_table,
)

_IDS, _SCORES = pa.list_(pa.string()), pa.list_(pa.float32())
PAIRS: Final = pa.schema(
    [
        ("query_id", pa.string()),
        ("positives", _IDS),
        ("known", _IDS),
        ("negatives", _IDS),
        ("positive_scores", _SCORES),
        ("negative_scores", _SCORES),
        ("positive_targets", _SCORES),
        ("negative_targets", _SCORES),
        ("suspects", _IDS),
        ("negative_ranks", pa.list_(pa.int32())),
        ("fills", _IDS),
    ]
)


@dataclass(frozen=True)
class Pair:
    """One training query: what is relevant to it, what is not, and what scores were given."""

    query_id: str
    positives: tuple[str, ...]
    known: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()
    positive_scores: tuple[float, ...] = ()
    negative_scores: tuple[float, ...] = ()
    positive_targets: tuple[float, ...] = ()
    negative_targets: tuple[float, ...] = ()
    suspects: tuple[str, ...] = ()  # neither positives nor negatives
    negative_ranks: tuple[int, ...] = ()  # 1-based among the query's candidates; 0 for a fill
    fills: tuple[str, ...] = ()  # negatives that no search found


@dataclass(frozen=True)
class Pairs:
    """A pairs artifact in memory."""

    corpus: Corpus
    queries: Queries
    rows: Sequence[Pair]

    def query_texts(self) -> dict[str, str]:
        """query_id -> text."""
        return dict(zip(self.queries.ids, self.queries.texts, strict=True))

    def document_texts(self) -> dict[str, str]:
        """doc_id -> what an encoder is given."""
        return dict(zip(self.corpus.ids, self.corpus.full_texts(), strict=True))


def pairs_of(qrels: Qrels) -> list[Pair]:
    """One row a query: its relevant documents, the most relevant first."""
    rows = []
    for query, docs in qrels.items():
        relevant = sorted((d for d in docs if docs[d] > 0), key=lambda d: (-docs[d], d))
        if relevant:
            rows.append(Pair(query, tuple(relevant), known=tuple(relevant)))
    return rows


def write_pair_rows(folder: Path, rows: Sequence[Pair]) -> None:
    """Write pairs.parquet."""
    write_table(folder / "pairs.parquet", PAIRS, [[getattr(row, name) for row in rows] for name in PAIRS.names])


def read_pair_rows(folder: Path) -> list[Pair]:
    """Read pairs.parquet."""
    return pairs_from(read_table(folder / "pairs.parquet", PAIRS))


def pairs_from(columns: Mapping[str, Sequence[Any]]) -> list[Pair]:
    """Rows from the columns of pairs.parquet."""
    lists = [name for name in PAIRS.names[1:] if columns.get(name)]
    return [
        Pair(query, **{name: tuple(columns[name][i]) for name in lists}) for i, query in enumerate(columns["query_id"])
    ]


def write_pairs(folder: Path, pairs: Pairs) -> None:
    """Write a pairs artifact."""
    write_corpus(folder, pairs.corpus)
    write_queries(folder, pairs.queries)
    write_pair_rows(folder, pairs.rows)


def read_pairs(folder: Path) -> Pairs:
    """Read pairs from a pairs or dataset artifact."""
    return Pairs(read_corpus(folder), read_queries(folder), read_pair_rows(folder))
