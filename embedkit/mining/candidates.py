"""From a block of queries to candidates, and from chosen candidates to rows of pairs.parquet."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embedkit.core.pair_files import id_lists, number_lists, pair_columns
from embedkit.mining.filters import NONE, Candidates, Mask
from embedkit.mining.ground import Block
from embedkit.mining.lists import list_scores
from embedkit.mining.miner import Choice, best, find_rows
from embedkit.mining.signals import Signals
from embedkit.retrieval.searcher import Searcher

Floats = NDArray[np.float32]


def retrieve(block: Block, searcher: Searcher, signals: Signals, *, top_k: int) -> Candidates:
    """Each query's `top_k` best documents besides those that can be no negative, and its positives' scores.

    Room for excluded documents is made for as many as any query has, but no more than `top_k`: a query with more of
    them may see fewer candidates.
    """
    ground, known = block.ground, block.known
    width = min(ground.vectors.shape[0], top_k + min(known.most(), top_k))
    rows, scores = searcher.search(block.vectors, width)
    found = Candidates(
        query_ids=[pair.query_id for pair in block.pairs],
        rows=rows,
        scores={"encoder": scores},
        positives={"encoder": list_scores(block.vectors, ground.vectors, block.relevant)},
        excluded={reason: find_rows(rows, lists) for reason, lists in known.reasons().items()},
    )
    return signals.add(block, best(found, top_k))


def pairs_of_block(block: Block, candidates: Candidates, choice: Choice, suspects: Mask) -> pa.Table:
    """The rows of pairs.parquet: negatives with scores and ranks, and suspects: those marked, and documents of the
    query's own text."""
    known, own = block.known, block.relevant
    chosen = choice.columns != NONE
    queries, places = np.nonzero(chosen)
    at = (queries, choice.columns[queries, places])
    marked = [
        np.concatenate([asked, rows[mask]])
        for asked, rows, mask in zip(known.same_as_query, candidates.rows, suspects, strict=True)
    ]
    ids, counts = block.ground.corpus.ids, chosen.sum(axis=1)
    positives = [np.asarray(scores, dtype=np.float32) for scores in candidates.positives["encoder"]]
    columns = {
        "query_id": pa.array(candidates.query_ids, type=pa.string()),
        "positives": id_lists(ids, *_flat(own)),
        "known": id_lists(ids, *_flat([known.all_positives(i, rows) for i, rows in enumerate(own)])),
        "negatives": id_lists(ids, candidates.rows[at], counts),
        "negative_scores": number_lists(candidates.signal("encoder")[at].astype(np.float32), counts),
        "negative_ranks": number_lists(candidates.ranks[at].astype(np.int32), counts),
        "positive_scores": number_lists(*_flat(positives)),
        "suspects": id_lists(ids, *_flat(marked)),
    }
    return pair_columns(columns)


def _flat(lists: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The lists one after the other, and how long each is."""
    return np.concatenate(lists), np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
