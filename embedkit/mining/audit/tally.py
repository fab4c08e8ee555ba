"""Everything a mined set's files say, summed up block by block: memory does not grow with the queries."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from embedkit.core.columns import Strings, places
from embedkit.core.errors import DataError
from embedkit.core.stats import histogram
from embedkit.mining.audit.margins import MarginCurve
from embedkit.mining.audit.tables import CandidateBlock, Doubles, PairBlock, candidate_blocks, pair_blocks
from embedkit.mining.miner import CHOSEN, NAMES, SPARE

GROUPS: Final = ("positives", "negatives", "dropped")
KEPT: Final = (NAMES[CHOSEN], NAMES[SPARE])  # fates that are no drops
_RANKS: Final = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)  # last ranks of the bins that negatives are counted in
_AT_A_TIME: Final = 1 << 20  # ids looked up at a time: each look-up goes over the corpus' ids


@dataclass
class Scores:
    """The scores of one group."""

    total: float = 0.0
    n: int = 0
    low: float = math.inf
    high: float = -math.inf

    def add(self, scores: Doubles) -> None:
        """Count those that are numbers."""
        finite = scores[np.isfinite(scores)]
        if len(finite):
            self.total, self.n = self.total + float(finite.sum()), self.n + len(finite)
            self.low, self.high = min(self.low, float(finite.min())), max(self.high, float(finite.max()))


@dataclass
class Tally:
    """What pairs.parquet and candidates.parquet say."""

    served: NDArray[np.int64]  # (N,) how many negatives each document is
    relevant: NDArray[np.bool_]  # (N,) whether it is a positive of any query
    found: Counter[int] = field(default_factory=Counter)  # negatives -> queries that have so many
    suspects: int = 0
    fills: int = 0
    reasons: dict[str, int] = field(default_factory=dict)  # fate -> candidates; empty without candidates.parquet
    ranks: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(_RANKS) + 1, dtype=np.int64))
    rank_sum: int = 0
    groups: dict[str, Scores] = field(default_factory=lambda: {name: Scores() for name in GROUPS})
    margins: MarginCurve = field(default_factory=MarginCurve)
    histograms: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(folder: Path, doc_ids: Sequence[str]) -> "Tally":
        """Read the files of a mined set twice: for sums, then for histograms over the range of all scores."""
        tally = Tally(np.zeros(len(doc_ids), dtype=np.int64), np.zeros(len(doc_ids), dtype=np.bool_))
        negatives: list[pa.Array] = []
        positives: list[pa.Array] = []
        for block in pair_blocks(folder):
            tally._add_pairs(block)
            negatives.append(block.lists["negatives"].values)
            positives.append(block.lists["positives"].values)
            if sum(map(len, negatives)) + sum(map(len, positives)) >= _AT_A_TIME:
                tally._count(negatives, positives, doc_ids)
        tally._count(negatives, positives, doc_ids)
        unranked = not tally.ranked
        for candidates in candidate_blocks(folder):
            tally._add_candidates(candidates)
            if unranked:  # pairs.parquet has no ranks
                tally._rank(candidates.ranks[candidates.of(NAMES[CHOSEN])])
        tally.histograms = tally._histograms(folder)
        return tally

    @property
    def queries(self) -> int:
        """All queries."""
        return self.found.total()

    @property
    def negatives(self) -> int:
        """All negatives."""
        return sum(count * queries for count, queries in self.found.items())

    @property
    def ranked(self) -> int:
        """Negatives that have a rank."""
        return int(self.ranks.sum())

    def _add_pairs(self, block: PairBlock) -> None:
        lists = block.lists
        self.found.update(lists["negatives"].lengths.tolist())
        self.suspects += len(lists["suspects"].values)
        self.fills += len(lists["fills"].values)
        for side in ("positive", "negative"):
            self.groups[f"{side}s"].add(block.scores(side))
        self.margins.add(block)
        self._rank(block.ranks())

    def _rank(self, ranks: NDArray[np.int64]) -> None:
        ranks = ranks[ranks > 0]
        self.ranks += np.bincount(np.searchsorted(_RANKS, ranks), minlength=len(self.ranks))
        self.rank_sum += int(ranks.sum())

    def _count(self, negatives: list[pa.Array], positives: list[pa.Array], doc_ids: Sequence[str]) -> None:
        """Count documents as negatives, mark positives, and forget their ids."""
        self.served += np.bincount(_places(negatives, "negative", doc_ids), minlength=len(self.served))
        self.relevant[_places(positives, "positive", doc_ids)] = True

    def _add_candidates(self, block: CandidateBlock) -> None:
        counts = np.bincount(block.reasons, minlength=len(block.names))
        for name, count in zip(block.names, counts, strict=True):
            self.reasons[name] = self.reasons.get(name, 0) + int(count)
        self.groups["dropped"].add(block.scores[_dropped(block)])

    def _histograms(self, folder: Path) -> dict[str, Any]:
        if not any(group.n for group in self.groups.values()):
            return {}
        low, high = _range(min(g.low for g in self.groups.values()), max(g.high for g in self.groups.values()))
        found = {name: histogram([], low=low, high=high) for name in GROUPS}

        def add(name: str, scores: Doubles) -> None:
            part = histogram(scores[np.isfinite(scores)], low=low, high=high)
            found[name]["counts"] = [a + b for a, b in zip(found[name]["counts"], part["counts"], strict=True)]
            found[name]["n"] += part["n"]

        for block in pair_blocks(folder):
            add("positives", block.scores("positive"))
            add("negatives", block.scores("negative"))
        for candidates in candidate_blocks(folder):
            add("dropped", candidates.scores[_dropped(candidates)])
        return found

    def rank_bins(self) -> list[dict[str, int]]:
        """How many negatives stood at which ranks, up to the last rank that has any."""
        firsts = [1, *(last + 1 for last in _RANKS)]
        used = int(np.flatnonzero(self.ranks)[-1]) + 1 if self.ranked else 0
        bins = zip(firsts, [*_RANKS, 0], self.ranks.tolist(), strict=True)
        return [{"first": a, "last": b, "negatives": count} for a, b, count in list(bins)[:used]]


def histograms(groups: Mapping[str, ArrayLike]) -> dict[str, Any]:
    """One histogram a group, all over the range of all of them; empty if nothing was scored."""
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in groups.items()}
    everything = np.concatenate(list(arrays.values()))
    if not everything.size:
        return {}
    low, high = _range(float(everything.min()), float(everything.max()))
    return {name: histogram(values, low=low, high=high) for name, values in arrays.items()}


def _range(least: float, most: float) -> tuple[float, float]:
    """A round range that holds both."""
    low = math.floor(least * 20) / 20
    return low, max(math.ceil(most * 20) / 20, low + 0.05)


def _dropped(block: CandidateBlock) -> NDArray[np.bool_]:
    """Candidates that a filter dropped. What was excluded before has no rank, whatever the reason is called."""
    return (block.ranks > 0) & ~block.of(*KEPT)


def _places(held: list[pa.Array], role: str, doc_ids: Sequence[str]) -> NDArray[np.int64]:
    """Rows of these ids, which are forgotten."""
    wanted = pa.chunked_array([values.cast(pa.string()) for values in held], type=pa.string())
    held.clear()
    rows = places(doc_ids, Strings(wanted))
    if (rows < 0).any():
        missing = wanted[int(np.flatnonzero(rows < 0)[0])].as_py()
        raise DataError(f"pairs.parquet: {role} {missing!r} is not in corpus.parquet; they belong to other sets")
    return rows
