"""From a block of queries to candidates, and from chosen candidates to rows of pairs.parquet."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embedkit.core.pair_files import id_lists, number_lists, pair_columns
from embedkit.mining.filters import NONE, Candidates, Mask, Rows, Scores
from embedkit.mining.ground import Block
from embedkit.mining.hybrid import Hybrid
from embedkit.mining.lists import list_scores
from embedkit.mining.miner import Choice, best, find_rows
from embedkit.mining.pool import Pool
from embedkit.mining.signals import Signals

Floats = NDArray[np.float32]


def retrieve(block: Block, pool: Pool, signals: Signals, *, top_k: int, hybrid: Hybrid | None = None) -> Candidates:
    """Each query's `top_k` best documents besides those that can be no negative, and its positives' scores.

    Room for excluded documents is made for as many as any query of the block has, but no more than `top_k`: a query
    with more of them may see fewer candidates. What an approximate index finds depends on how many are asked for, so
    it is asked for as many in every block. With `hybrid`, every retriever gives as many, and the best of the fused list
    are taken; their scores are the miner's own encoder's all the same.
    """
    ground, known = block.ground, block.known
    exact = pool.searcher.exact and (hybrid is None or hybrid.exact)
    width = min(len(pool), top_k + (min(known.most(), top_k) if exact else top_k))

    def best_of(rows: Rows, scores: Scores, found_by: Mapping[str, Mask] | None = None) -> Candidates:
        excluded = {reason: find_rows(rows, lists) for reason, lists in known.reasons().items()}
        ids = [pair.query_id for pair in block.pairs]
        return best(Candidates(ids, rows, {"encoder": scores}, {}, excluded, found_by or {}), top_k)

    found = best_of(*pool.search(block.vectors, width))
    if hybrid:
        # each list is cut to what its query needs: no list may depend on the other queries of the block
        others = [best_of(*finder.search(block, width)) for finder in hybrid.finders.values()]
        lists = [(some.rows, some.scores["encoder"]) for some in (found, *others)]
        found = _scored(best_of(*hybrid.fuse(lists)), block)
    positives = {"encoder": list_scores(block.vectors, ground.vectors, block.relevant)}
    return signals.add(block, replace(found, positives=positives))


def _scored(candidates: Candidates, block: Block) -> Candidates:
    """The same with the encoder's scores of what only others found."""
    scores = candidates.scores["encoder"].astype(np.float32)
    missing = np.isnan(scores) & (candidates.rows != NONE)
    lists = [rows[wanted] for rows, wanted in zip(candidates.rows, missing, strict=True)]
    scores[missing] = np.concatenate(list_scores(block.vectors, block.ground.vectors, lists))
    return replace(candidates, scores={"encoder": scores})


def pairs_of_block(block: Block, candidates: Candidates, choice: Choice, suspects: Mask, fills: Rows) -> pa.Table:
    """The rows of pairs.parquet: negatives with scores and ranks, fills (Q, count) where negatives are missing, and
    suspects: those marked, and what is no negative without being known to be relevant."""
    known, own, ids = block.known, block.relevant, block.ground.corpus.ids
    rows, scores, ranks = _negatives(block, candidates, choice, fills)
    there, filled = rows != NONE, fills != NONE
    counts = there.sum(axis=1)
    doubtful = zip(*known.doubtful(), candidates.rows, suspects, strict=True)
    marked = [np.concatenate([*lists, some[mask]]) for *lists, some, mask in doubtful]
    positives = [np.asarray(some, dtype=np.float32) for some in candidates.positives["encoder"]]
    columns = {
        "query_id": pa.array(candidates.query_ids, type=pa.string()),
        "positives": id_lists(ids, *_flat(own)),
        "known": id_lists(ids, *_flat([known.all_positives(i, some) for i, some in enumerate(own)])),
        "negatives": id_lists(ids, rows[there], counts),
        "negative_scores": number_lists(scores[there], counts),
        "negative_ranks": number_lists(ranks[there], counts),
        "positive_scores": number_lists(*_flat(positives)),
        "suspects": id_lists(ids, *_flat(marked)),
        "fills": id_lists(ids, fills[filled], filled.sum(axis=1)),
    }
    return pair_columns(columns)


def _negatives(
    block: Block, candidates: Candidates, choice: Choice, fills: Rows
) -> tuple[Rows, Floats, NDArray[np.int32]]:
    """(Q, count) rows of negatives and fills, -1 where there is neither, their scores, and ranks: 0 for fills."""
    chosen, filled = choice.columns != NONE, fills != NONE
    at = (np.nonzero(chosen)[0], choice.columns[chosen])
    rows, scores, ranks = fills.copy(), np.zeros(fills.shape, dtype=np.float32), np.zeros(fills.shape, dtype=np.int32)
    rows[chosen], scores[chosen], ranks[chosen] = (
        candidates.rows[at],
        candidates.signal("encoder")[at],
        candidates.ranks[at],
    )
    if filled.any():
        lists = [some[mask] for some, mask in zip(fills, filled, strict=True)]
        scores[filled] = np.concatenate(list_scores(block.vectors, block.ground.vectors, lists))
    return rows, scores, ranks


def _flat(lists: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The lists one after the other, and how long each is."""
    return np.concatenate(lists), np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
