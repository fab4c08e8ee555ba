"""From a block of queries to candidates, and from chosen candidates to pairs."""

import numpy as np
from numpy.typing import NDArray

from embedkit.core.records import Pair
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


def negatives_of(block: Block, candidates: Candidates, choice: Choice, suspects: Mask) -> list[Pair]:
    """The pairs with their negatives, scores, ranks and suspects: those marked, and documents of the query's text."""
    scores, rows, ranks = candidates.signal("encoder"), candidates.rows, candidates.ranks
    doc_ids, known = block.ground.corpus.ids, block.known
    pairs = []
    for query, pair in enumerate(block.pairs):
        columns = choice.columns[query][choice.columns[query] != NONE]
        judged = (doc_ids[row] for row in known.positives(query))
        doubtful = (*known.same_as_query[query], *rows[query, suspects[query]])
        pairs.append(
            Pair(
                pair.query_id,
                pair.positives,
                known=tuple(dict.fromkeys((*pair.positives, *judged))),
                negatives=tuple(doc_ids[row] for row in rows[query, columns]),
                positive_scores=tuple(candidates.positives["encoder"][query].tolist()),
                negative_scores=tuple(scores[query, columns].tolist()),
                negative_ranks=tuple(ranks[query, columns].tolist()),
                suspects=tuple(doc_ids[row] for row in doubtful),
            )
        )
    return pairs
