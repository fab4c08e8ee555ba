"""From the pairs to the columns and labels that a loss of sentence-transformers learns from."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from embedkit.core.columns import taken
from embedkit.core.errors import DataError
from embedkit.core.pairs import Pairs
from embedkit.training.examples import Examples, Row
from embedkit.training.peers.base import Data


class Table(NamedTuple):
    """Rows of texts by column, the query's first."""

    columns: dict[str, list[str]]
    labels: list[Any] | None
    ids: list[str]  # of the texts of the first column
    skipped: Mapping[str, int]  # why rows of the pairs were left out -> how many

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, number: int) -> dict[str, Any]:
        """A row as people read it."""
        label = {} if self.labels is None else {"label": self.labels[number]}
        return {"id": self.ids[number], **{name: texts[number] for name, texts in self.columns.items()}, **label}


class _Entry(NamedTuple):
    query_id: str
    query: int
    documents: tuple[int, ...]
    label: Any


def table_of(examples: Examples, data: Data, negatives: int) -> Table:
    """The table that a loss with this `data` learns from, with so many of each query's negatives.

    In `tuples` no row is short of negatives: queries with fewer are left out. In `pairs` a query shows what it has, up
    to that number. A `DataError` where no row is left.
    """
    few = int((examples.rows.negatives.lengths < negatives).sum()) if data.rows == "tuples" else 0
    make = _tuples if data.rows == "tuples" else _pairs
    entries = [entry for row in examples.rows for entry in make(row, data, negatives)]
    if not entries:
        raise DataError(f"pairs: none of {len(examples.rows)} rows has {negatives} negatives")
    columns = {"query": taken(examples.queries, np.array([entry.query for entry in entries]))}
    for i in range(len(entries[0].documents)):
        name = f"negative_{i}" if i else "positive"
        columns[name] = taken(examples.documents, np.array([entry.documents[i] for entry in entries]))
    labels = None if data.labels in (None, "embeddings") else [entry.label for entry in entries]
    if data.rows == "pairs" and data.labels == "scores" and len({entry.label for entry in entries}) == 1:
        raise DataError(f"pairs: all scores are {entries[0].label:.6g}, so there is nothing to tell apart")
    skipped = {f"rows with fewer than {negatives} negatives": few} if few else {}
    return Table(columns, labels, [entry.query_id for entry in entries], skipped)


def _tuples(row: Row, data: Data, negatives: int) -> Iterator[_Entry]:
    if len(row.negatives) < negatives:
        return
    for positive, target in zip(row.positives, row.positive_targets, strict=True):
        scores = [target, *row.negative_targets[:negatives]]
        yield _Entry(row.query_id, row.query, (positive, *row.negatives[:negatives]), scores)


def _pairs(row: Row, data: Data, negatives: int) -> Iterator[_Entry]:
    documents = (*row.positives, *row.negatives[:negatives])
    scores = (*row.positive_targets, *row.negative_targets[:negatives])
    for i, (document, score) in enumerate(zip(documents, scores, strict=True)):
        yield _Entry(row.query_id, row.query, (document,), _label(row, data, score, relevant=i < len(row.positives)))


def _label(row: Row, data: Data, score: float, *, relevant: bool) -> float:
    if data.labels == "relevance":
        return int(relevant)
    if data.classes is None:
        return score
    if score not in range(data.classes):
        raise DataError(
            f"pairs: query {row.query_id!r} has the score {score:g}; classes are whole numbers from 0 to "
            f"{data.classes - 1}"
        )
    return int(score)


def texts_of(pairs: Pairs) -> Table:
    """Texts of the rows with their classes, for losses that learn from `texts`: documents, or queries where the corpus
    has no classes. A `DataError` where no text has one."""
    if any(pairs.corpus.classes):
        column, texts, of = "document", pairs.document_texts(), zip(pairs.corpus.ids, pairs.corpus.classes, strict=True)
        used = {d for row in pairs.rows for d in (*row.positives, *row.negatives)}
    elif any(pairs.queries.classes):
        column, texts, of = "query", pairs.query_texts(), zip(pairs.queries.ids, pairs.queries.classes, strict=True)
        used = {row.query_id for row in pairs.rows}
    else:
        raise DataError("pairs: no text has a class")
    classes = {name: label for name, label in of if label and name in used}
    numbers = {label: i for i, label in enumerate(sorted(set(classes.values())))}
    labels = [numbers[label] for label in classes.values()]
    return Table({column: [texts[name] for name in classes]}, labels, list(classes), {})


def check_size(table: Table, data: Data, batch_size: int) -> None:
    """Raise a `DataError` unless the sampler can fill a batch."""
    if len(table) < batch_size:
        raise DataError(f"pairs: {len(table)} pairs cannot fill a batch of {batch_size}; lower batch_size")
    if data.sampler == "group_by_label" and _in_groups(table.labels or ()) < batch_size:
        raise DataError(
            f"pairs: too few classes with two texts or more for a batch of {batch_size}; lower batch_size or bring more"
        )


def _in_groups(labels: Sequence[int]) -> int:
    """How many texts a pass has that takes two of each class in turn, while there are two classes."""
    twos = sorted((count // 2 for count in Counter(labels).values()), reverse=True)
    return 2 * sum(min(count, twos[1]) for count in twos) if len(twos) > 1 else 0
