"""Random negatives of a mined set, to be read or judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedkit.mining.audit.tables import PairBlock, pair_blocks, texts_of

_LONG = 280  # characters of a text that are shown


@dataclass(frozen=True)
class Draw:
    """One negative of a query."""

    query_id: str
    doc_id: str
    score: float | None
    rank: int | None  # None for a fill, and where ranks are not kept
    positive: str  # the query's first, the most relevant one
    positive_score: float | None


def draw_examples(folder: Path, count: int, *, seed: int) -> list[Draw]:
    """One random negative each of `count` random queries that have any, in the order of the file."""
    lengths = [block.lists["negatives"].lengths for block in pair_blocks(folder)]
    sizes = np.concatenate([*lengths, np.empty(0, dtype=np.int64)])
    able = np.flatnonzero(sizes)
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(able, min(count, len(able)), replace=False))
    starts = np.cumsum(sizes) - sizes
    return negatives_at(folder, starts[chosen] + rng.integers(0, sizes[chosen]) if len(chosen) else chosen)


def negatives_at(folder: Path, places: NDArray[np.int64]) -> list[Draw]:
    """The negatives at these places, counted over all queries of the file; `places` ascend."""
    found, first = list[Draw](), 0
    for block in pair_blocks(folder):
        size = len(block.lists["negatives"].values)
        own = places[(places >= first) & (places < first + size)] - first
        found += _drawn(block, own) if len(own) else []
        first += size
    return found


def _drawn(block: PairBlock, places: NDArray[np.int64]) -> list[Draw]:
    negatives, positives = block.lists["negatives"], block.lists["positives"]
    scores, own, ranks = block.scores("negative"), block.scores("positive"), block.ranks()
    queries, starts = negatives.queries(), np.cumsum(positives.lengths) - positives.lengths
    drawn = []
    for place in places.tolist():
        query = int(queries[place])
        judged = bool(positives.lengths[query])
        drawn.append(
            Draw(
                query_id=block.query_ids[query].as_py(),
                doc_id=negatives.values[place].as_py(),
                score=_finite(scores[place]),
                rank=int(ranks[place]) or None,
                positive=positives.values[int(starts[query])].as_py() if judged else "",
                positive_score=_finite(own[starts[query]]) if judged else None,
            )
        )
    return drawn


def with_texts(folder: Path, drawn: Sequence[Draw], *, long: int | None = _LONG) -> list[dict[str, Any]]:
    """The draws and their texts, on one line each and cut after `long` characters."""
    queries = texts_of(folder, "queries", [d.query_id for d in drawn])
    documents = texts_of(folder, "corpus", [doc for d in drawn for doc in (d.doc_id, d.positive)])
    return [
        {
            **vars(d),
            "query_text": _short(queries.get(d.query_id, ""), long),
            "positive_text": _short(documents.get(d.positive, ""), long),
            "negative_text": _short(documents.get(d.doc_id, ""), long),
        }
        for d in drawn
    ]


def _short(text: str, long: int | None) -> str:
    flat = " ".join(text.split())
    return flat if long is None or len(flat) <= long else f"{flat[: long - 1].rstrip()}…"


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
