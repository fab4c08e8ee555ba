"""The rules that eval.quality.false_negatives compares: a family is one rule at several settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from embedkit.mining.filters import Agreement, Filter, MarginToPositive, PercentOfPositive, RankWindow, ScoreRange


@dataclass(frozen=True)
class Family:
    """One rule, `filters` at each of its settings."""

    title: str
    settings: Mapping[float, Sequence[Filter]]


def _agreement(*signals: str) -> Mapping[float, Sequence[Filter]]:
    return {step / 8: (Agreement(of=signals, threshold=step / 8),) for step in range(28, -9, -1)}


PEERS: Final = {  # what sentence-transformers' mine_hard_negatives has, with the lowest known positive as reference
    "relative_margin": Family(
        "ST, relative margin",
        {m: (PercentOfPositive(ratio=1 - m),) for m in (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)},
    ),
    "absolute_margin": Family(
        "ST, absolute margin",
        {m: (MarginToPositive(margin=m),) for m in (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)},
    ),
    "max_score": Family("ST, maximum score", {m: (ScoreRange(maximum=m),) for m in (0.8, 0.7, 0.6, 0.5, 0.4)}),
}
SHIFT: Final = Family(
    "rank shift", {float(r): (RankWindow(first=r, last=100),) for r in (*range(1, 20, 2), *range(21, 97, 4))}
)
OURS: Final = {
    "agreement": Family(
        "encoder, BM25 and likeness to positives", _agreement("encoder", "bm25", "positive_similarity")
    ),
    "without_encoder": Family("BM25 and likeness to positives", _agreement("bm25", "positive_similarity")),
    "without_bm25": Family("encoder and likeness to positives", _agreement("encoder", "positive_similarity")),
    "without_positives": Family("encoder and BM25", _agreement("encoder", "bm25")),
    "encoder_only": Family("encoder", _agreement("encoder")),
    "bm25_only": Family("BM25", _agreement("bm25")),
    "positives_only": Family("likeness to positives", _agreement("positive_similarity")),
}
DEFAULT: Final = Agreement()
