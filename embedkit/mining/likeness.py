"""Signals of what documents and queries are to each other, from stored vectors, texts and document groups."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from embedkit.core.shingles import shingles
from embedkit.mining.filters import NONE, Rows, Scores
from embedkit.mining.ground import Block, Ground
from embedkit.mining.ragged import Compare, Floats, Lists, greatest, laid_out, on_grid
from embedkit.retrieval.nearest import Vectors, pair_scores
from embedkit.retrieval.unit import UnitVectors

Signal = Callable[[Block, Rows], tuple[Scores, Sequence[Scores]]]
"""A block and its candidates' rows (Q, K) -> their scores (Q, K), NaN where there is none, and per query those of its
positives, the most relevant first."""

_TEXTS: Final = 1 << 12  # pairs of texts compared at a time


def positive_similarity(ground: Ground) -> Signal:
    """The highest cosine of a document and a positive of the query; of a positive, one of the others."""
    return _to_positives(cosines(UnitVectors(ground.vectors)))


def positive_overlap(ground: Ground) -> Signal:
    """The highest Jaccard similarity of the three-word shingles of a document and of a positive of the query; of a
    positive, one of the others."""
    return _to_positives(_overlaps(ground.documents))


def same_group(groups: Rows) -> Signal:
    """1 if a document's group, of `groups` (N,), is a positive's of the query, 0 if not, NaN if it has none (-1)."""

    def compare(documents: Rows, positives: Rows) -> NDArray[Any]:
        return np.where(groups[documents] == NONE, np.nan, groups[documents] == groups[positives])

    return _to_positives(compare)


def owner_similarity(ground: Ground) -> Signal:
    """The highest cosine of the query and an owner of a document: another query of the split that it, or a document of
    the same text, is judged relevant to. NaN without any."""
    compare = cosines(UnitVectors(ground.queries))

    def signal(block: Block, rows: Rows) -> tuple[Scores, Sequence[Scores]]:
        def of(documents: Rows, queries: Rows) -> Floats:
            anchors = queries + block.queries.start
            return greatest(anchors, ground.judgements.owners(documents), compare, but=anchors)

        return _scored(block, rows, of)

    return signal


def cosines(vectors: Vectors) -> Compare:
    """Dot products of two rows of unit vectors (N, D)."""

    def compare(left: Rows, right: Rows) -> NDArray[Any]:
        (one, own), (other, its) = (np.unique(rows, return_inverse=True) for rows in (left, right))
        if len(other) < len(one):  # the fewer stay in memory, the others pass by
            return pair_scores(vectors[other], vectors, its, left)
        return pair_scores(vectors[one], vectors, own, right)

    return compare


def _overlaps(texts: Sequence[str]) -> Compare:
    def compare(left: Rows, right: Rows) -> NDArray[Any]:
        parts = [slice(start, start + _TEXTS) for start in range(0, len(left), _TEXTS)]
        return np.concatenate([_jaccard(texts, left[part], right[part]) for part in parts])

    return compare


def _jaccard(texts: Sequence[str], left: Rows, right: Rows) -> NDArray[np.float64]:
    """(P,) Jaccard similarities of the texts of pairs, as `core.shingles.jaccard` has them."""
    distinct, places = np.unique(np.concatenate([left, right]), return_inverse=True)
    sets = [shingles(texts[int(row)]) for row in distinct]
    sizes = np.array([len(some) for some in sets])
    columns = np.unique(np.concatenate(sets), return_inverse=True)[1]
    shape = (len(sets), int(columns.max(initial=-1)) + 1)
    table = csr_array((np.ones(len(columns), np.int32), columns, np.concatenate([[0], np.cumsum(sizes)])), shape=shape)
    one, other = places[: len(left)], places[len(left) :]
    shared = np.asarray(table[one].multiply(table[other]).sum(axis=1)).ravel()
    return np.asarray(shared / np.maximum(sizes[one] + sizes[other] - shared, 1))


def _to_positives(compare: Compare) -> Signal:
    """The greatest of a document compared with each of the query's positives, itself left out."""

    def signal(block: Block, rows: Rows) -> tuple[Scores, Sequence[Scores]]:
        positives = laid_out(list(block.known.relevant))

        def of(documents: Rows, queries: Rows) -> Floats:
            return greatest(documents, positives.take(queries), compare, but=documents)

        return _scored(block, rows, of)

    return signal


def _scored(block: Block, rows: Rows, of: Callable[[Rows, Rows], Floats]) -> tuple[Scores, Sequence[Scores]]:
    """`of(documents, queries of the block)` (C,), of all candidates and of all positives."""
    query_of = np.nonzero(rows != NONE)[0]
    own: Lists = laid_out(list(block.relevant))
    found = of(own.flat, np.repeat(np.arange(len(own.counts)), own.counts))
    return on_grid(rows, query_of, of(rows[rows != NONE], query_of)), np.split(found, np.cumsum(own.counts)[:-1])
