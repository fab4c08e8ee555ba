"""What stricter margins would drop: of the negatives, and of positives that nobody had told it of. Pure."""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embedkit.mining.audit.tables import Doubles, PairBlock, Rows

RATIOS: Final = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 1.0)
MARGINS: Final = (0.3, 0.2, 0.15, 0.1, 0.075, 0.05, 0.025, 0.0)
Counts = NDArray[np.int64]


def _none() -> Counts:
    return np.zeros(len(RATIOS) + len(MARGINS), dtype=np.int64)


@dataclass
class MarginCurve:
    """For each setting of the margin filters, how many negatives it would drop, and how many positives it would catch
    if they were not known: each positive of a query with several, held against the lowest of the others."""

    negatives: int = 0  # with a score, of queries whose lowest positive has one
    dropped: Counts = field(default_factory=_none)
    hidden: int = 0  # positives that were held against others
    caught: Counts = field(default_factory=_none)

    def add(self, block: PairBlock) -> None:
        """Count some queries."""
        positives, lengths = block.scores("positive"), block.lists["positives"].lengths
        lowest, others = _lowest(positives, lengths)
        scores, at = block.scores("negative"), block.lists["negatives"].queries()
        usable = np.isfinite(scores) & np.isfinite(lowest[at])
        self.negatives += int(usable.sum())
        self.dropped += _beyond(scores[usable], lowest[at][usable])
        usable = np.isfinite(positives) & np.isfinite(others)
        self.hidden += int(usable.sum())
        self.caught += _beyond(positives[usable], others[usable])

    def stats(self) -> dict[str, Any]:
        """As stats.json has it; empty if no negative was scored."""
        if not self.negatives:
            return {}
        rows = [{"dropped": int(d), "caught": int(c)} for d, c in zip(self.dropped, self.caught, strict=True)]
        return {
            "negatives": self.negatives,
            "hidden": self.hidden,
            "ratios": [{"ratio": value, **row} for value, row in zip(RATIOS, rows, strict=False)],
            "margins": [{"margin": value, **row} for value, row in zip(MARGINS, rows[len(RATIOS) :], strict=True)],
        }


def _lowest(scores: Doubles, lengths: Rows) -> tuple[Doubles, Doubles]:
    """Per query its lowest score; per score the lowest of its query's others. NaN where there is none."""
    lowest = np.full(len(lengths), np.nan)
    others = np.full(len(scores), np.nan)
    some = lengths > 0
    if not some.any():
        return lowest, others
    ends = np.cumsum(lengths[some])
    starts = ends - lengths[some]
    lowest[some] = np.minimum.reduceat(scores, starts)
    queries = np.repeat(np.arange(len(starts)), lengths[some])
    order = np.lexsort((scores, queries))
    first, second = order[starts], order[np.minimum(starts + 1, ends - 1)]
    others[:] = scores[first][queries]
    others[first] = scores[second]
    others[np.repeat(lengths[some] < 2, lengths[some])] = np.nan
    others[np.isnan(lowest[some])[queries]] = np.nan
    return lowest, others


def _beyond(scores: Doubles, positives: Doubles) -> Counts:
    """How many scores each setting does not let pass, by the formulas of the filters."""
    ratios = [np.count_nonzero(scores > positives - (1 - ratio) * np.abs(positives)) for ratio in RATIOS]
    margins = [np.count_nonzero(scores > positives - margin) for margin in MARGINS]
    return np.array([*ratios, *margins], dtype=np.int64)
