"""Evaluation texts that training has in other words: alike by the vectors of a model, searched exactly."""

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import numpy as np

from embedkit.core.columns import Picked
from embedkit.core.progress import Progress, silent
from embedkit.core.runs import Words
from embedkit.evaluation.contamination.held import HeldTexts, Rows
from embedkit.evaluation.contamination.matches import Matches
from embedkit.evaluation.contamination.training import Training
from embedkit.retrieval.encoder import StoredEncoder
from embedkit.retrieval.exact import look_exactly
from embedkit.retrieval.nearest import Floats, Vectors

NEAREST: Final = 10  # neighbours of a text that can match it
_BLOCK: Final = 4096


def find_similar(
    training: Training, held: HeldTexts, encoder: StoredEncoder, least: float, progress: Progress = silent
) -> Matches:
    """Training queries and evaluation queries, and training and evaluation documents, of a cosine of at least `least`.

    Of every text, whichever side it is of, the 10 nearest of the other side are looked at: so every text that has a
    match is found, if perhaps not all of its matches. The model puts its own prompts before both sides.
    """
    unit = encoder.prompted({}, normalize=True)
    first, seen, parts = len(training.queries), training.seen(), list[Matches]()
    for side in ("query", "document"):
        own = seen[seen < first] if side == "query" else seen[seen >= first]
        texts: Sequence[str] = (
            Picked(training.queries.texts, own) if side == "query" else Picked(training.corpus.documents(), own - first)
        )
        units = _units(held, "queries" if side == "query" else "documents")
        if len(own) and len(units):
            ours, theirs = unit.stored(_task(side), texts), unit.stored(_task(side), held.column(units))
            for a, b, values in _both_ways(ours, theirs, least, progress):
                kept = np.array([bool(Words([texts[int(row)]]).digests[0]) for row in a], dtype=np.bool_)
                parts.append(Matches.of(own[a[kept]], units[b[kept]], "similar", values[kept]))
    return Matches.joined(parts)


def _both_ways(ours: Vectors, theirs: Vectors, least: float, progress: Progress) -> Iterator[tuple[Rows, Rows, Floats]]:
    """Rows of the one, rows of the other and cosines, of pairs of which one is among the nearest of the other."""
    for a, b, values in _nearest(ours, theirs, least, progress):
        yield a, b, values
    for b, a, values in _nearest(theirs, ours, least, progress):
        yield a, b, values


def _nearest(asking: Vectors, asked: Vectors, least: float, progress: Progress) -> Iterator[tuple[Rows, Rows, Floats]]:
    searcher = look_exactly(asked)
    for start in range(0, asking.shape[0], _BLOCK):
        rows, scores = searcher.search(asking[start : start + _BLOCK], NEAREST, progress)
        own, place = np.nonzero(scores >= least)
        yield own + start, rows[own, place], scores[own, place]


def _units(held: HeldTexts, side: Literal["queries", "documents"]) -> Rows:
    found = np.concatenate([np.empty(0, np.int64), *(held.units(task, side) for task in range(len(held.tasks)))])
    return np.unique(found[found >= 0])


def _task(side: str) -> Literal["query", "document"]:
    return "query" if side == "query" else "document"
