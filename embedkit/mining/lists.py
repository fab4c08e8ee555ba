"""Scores of ragged lists: for every query, the documents of its own list."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from embedkit.mining.filters import Rows, Scores
from embedkit.mining.teacher import Scorer
from embedkit.retrieval.nearest import Floats, Vectors, dot_scores

if TYPE_CHECKING:
    from embedkit.retrieval.encoder import StoredEncoder

_PAIRS: Final = 1 << 14  # query-document pairs whose vectors are in memory at a time


def list_scores(queries: Floats, documents: Vectors, lists: Sequence[Rows]) -> list[Floats]:
    """Dot products of each query (Q, D) and the documents (N, D) of its list, equal to the index's to the last bit."""
    scores: list[Floats] = []
    for part in _parts([len(rows) for rows in lists]):
        lengths = [len(rows) for rows in lists[part]]
        flat = np.concatenate([*lists[part], np.empty(0, dtype=np.int64)])
        owners = np.repeat(np.arange(part.start, part.stop), lengths)
        found = dot_scores(queries[owners], documents, flat[:, None])[:, 0]
        scores += np.split(found, np.cumsum(lengths)[:-1])
    return scores


def vector_scorer(encoder: "StoredEncoder", documents: Vectors, queries: Sequence[str]) -> Scorer:
    """Similarities of queries and `documents` (N, D). `queries` are encoded now, together; others when asked for."""
    known, row_of = encoder.stored("query", queries), {text: row for row, text in enumerate(queries)}

    def score(texts: Sequence[str], lists: Sequence[Rows]) -> list[Scores]:
        rows = np.array([row_of.get(text, -1) for text in texts], dtype=np.int64)
        vectors = known[rows] if len(rows) and rows.min() >= 0 else encoder.queries(texts)
        return list(list_scores(vectors, documents, lists))

    return score


def _parts(lengths: Sequence[int]) -> Iterator[slice]:
    """Slices of the lists, of at most `_PAIRS` documents each, or of one list that is longer."""
    start, held = 0, 0
    for i, length in enumerate(lengths):
        if held and held + length > _PAIRS:
            yield slice(start, i)
            start, held = i, 0
        held += length
    if start < len(lengths):
        yield slice(start, len(lengths))
