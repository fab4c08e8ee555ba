"""From a data set and an encoder to candidates, and from chosen candidates to pairs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedkit.core.errors import DataError, StageError
from embedkit.core.records import Corpus, Pair, Qrels, Queries, pairs_of
from embedkit.core.stage import Context
from embedkit.mining.filters import NONE, Candidates, Mask, Rows
from embedkit.mining.known import Known, close
from embedkit.mining.lists import list_scores
from embedkit.mining.miner import Choice, best, find_rows
from embedkit.retrieval.encoder import StoredEncoder
from embedkit.retrieval.index import AnyIndex

_KEPT: Final = "search.npz"
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Found:
    """Candidates of the training queries, in the order of the qrels, and what is known of their documents."""

    rows: Sequence[Pair]
    candidates: Candidates
    known: Known


def retrieve(
    encoder: StoredEncoder,
    index: AnyIndex,
    corpus: Corpus,
    queries: Queries,
    qrels: Qrels,
    *,
    top_k: int,
    context: Context,
) -> Found:
    """Each judged query's `top_k` best documents besides those that can be no negative, and its positives' scores.

    Room for excluded documents is made for as many as any query has, but no more than `top_k`: a query with more of
    them may see fewer candidates. Raises `DataError` if no query is judged.
    """
    pairs = pairs_of(qrels)
    if not pairs:
        raise DataError("data: no query of this split has a relevant document; there is nothing to mine for")
    texts = dict(zip(queries.ids, queries.texts, strict=True))
    row_of = {doc: row for row, doc in enumerate(corpus.ids)}
    relevant = [np.array([row_of[doc] for doc in pair.positives], dtype=np.int64) for pair in pairs]
    questions, documents = [texts[pair.query_id] for pair in pairs], corpus.full_texts()
    known = close(questions, documents, relevant)
    width = min(len(documents), top_k + min(known.most(), top_k))
    rows, scores, positives = _search(encoder, index, questions, documents, relevant, width, context)
    ends = np.cumsum([len(some) for some in relevant])[:-1]
    candidates = Candidates(
        query_ids=[pair.query_id for pair in pairs],
        rows=rows,
        scores={"encoder": scores},
        positives={"encoder": np.split(positives, ends)},
        excluded={reason: find_rows(rows, lists) for reason, lists in known.reasons().items()},
    )
    return Found(pairs, best(candidates, top_k), known)


def negatives_of(found: Found, choice: Choice, suspects: Mask, doc_ids: Sequence[str]) -> list[Pair]:
    """The pairs with their negatives, scores and suspects: those marked, and documents of the query's own text.

    Raises `StageError` if not one negative was chosen.
    """
    scores, rows = found.candidates.signal("encoder"), found.candidates.rows
    pairs = []
    for query, pair in enumerate(found.rows):
        columns = choice.columns[query][choice.columns[query] != NONE]
        known = (doc_ids[row] for row in found.known.positives(query))
        doubtful = (*found.known.same_as_query[query], *rows[query, suspects[query]])
        pairs.append(
            Pair(
                pair.query_id,
                pair.positives,
                known=tuple(dict.fromkeys((*pair.positives, *known))),
                negatives=tuple(doc_ids[row] for row in rows[query, columns]),
                positive_scores=tuple(found.candidates.positives["encoder"][query].tolist()),
                negative_scores=tuple(scores[query, columns].tolist()),
                suspects=tuple(doc_ids[row] for row in doubtful),
            )
        )
    if not any(pair.negatives for pair in pairs):
        drops = ", ".join(f"{name} {count}" for name, count in choice.dropped.items() if count)
        raise StageError(f"no query has a candidate that may be a negative (dropped: {drops}); loosen the filters")
    return pairs


def _search(
    encoder: StoredEncoder,
    index: AnyIndex,
    queries: Sequence[str],
    documents: Sequence[str],
    relevant: Sequence[Rows],
    width: int,
    context: Context,
) -> tuple[Rows, Floats, Floats]:
    """(Q, width) rows and scores, and the scores of all `relevant` documents one after the other.

    Kept in the work folder, so that a run stopped after the search does not search again.
    """
    path = context.work / _KEPT
    if not path.is_file():
        query_vectors, document_vectors = encoder.queries(queries), encoder.stored("document", documents)
        rows, scores = index.search(query_vectors, document_vectors, width, context.progress)
        own = list_scores(query_vectors, document_vectors, relevant)
        _keep(path, rows=rows.astype(np.int64), scores=scores.astype(np.float32), positives=np.concatenate(own))
        context.emit("search_finished", {"queries": len(queries), "documents": len(documents), "candidates": width})
    with np.load(path, allow_pickle=False) as kept:
        return kept["rows"], kept["scores"], kept["positives"].astype(np.float32)


def _keep(path: Path, **arrays: NDArray[np.generic]) -> None:
    """Write the arrays so that a reader finds all of them or no file."""
    draft = path.with_name(f".{path.name}")
    with draft.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
