"""Which class each text is of, for losses that ask."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedkit.core.columns import Strings
from embedkit.core.errors import DataError
from embedkit.training.lists import Lists, Places, Sparse
from embedkit.training.reading import Table


def classes_of(
    queries: Table, documents: Table, trained: Places, known: Lists
) -> tuple[Mapping[int, int], Mapping[int, int]]:
    """By query and by document: its class, where it has one. A document without one is of its query's.

    Of texts with several classes, and of documents relevant to queries of several, the first counts. A `DataError`
    where no query in `trained` has a class.
    """
    asked, labels = _labels(queries.classes, pa.array([], type=pa.string()))
    told, _ = _labels(documents.classes, labels)
    of_queries, of_documents = _first(asked, queries), _first(told, documents)
    if not (of_queries[trained] >= 0).any():
        raise DataError(
            "pairs: no query has a class, which this loss needs; the `data` stage reads classes from the column its "
            "source names (class_field, or columns.query_class)"
        )
    handed = np.repeat(of_queries, known.lengths)
    there = np.flatnonzero((handed >= 0) & (of_documents[known.values] < 0))
    there = there[::-1]  # so that the first is written last
    of_documents[known.values[there]] = handed[there]
    return (
        Sparse(of_queries >= 0, of_queries.item),
        Sparse(of_documents >= 0, of_documents.item),
    )


def _labels(classes: Sequence[str], labels: pa.Array) -> tuple[Places, pa.Array]:
    """The number of every entry's label, -1 for "", and all labels so far: those before, then in order of first use."""
    column = classes.column if isinstance(classes, Strings) else pa.chunked_array([pa.array(classes, type=pa.string())])
    new = [label for label in pc.unique(column).to_pylist() if label]
    labels = pc.unique(pa.concat_arrays([labels, pa.array(new, type=pa.string())]))
    found = pc.fill_null(pc.index_in(column, value_set=labels), -1)
    return np.asarray(found.combine_chunks(), dtype=np.int64), labels


def _first(numbers: Places, table: Table) -> Places:
    """By text: the label of its first entry that has one; -1 where none has."""
    result = np.full(len(table), -1, dtype=np.int64)
    there = np.flatnonzero(numbers >= 0)[::-1]
    result[table.numbers[there]] = numbers[there]
    return result
