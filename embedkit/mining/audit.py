"""What a mined set looks like: counts, score distributions, hubs. Read from its files, some rows at a time."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from embedkit.core.columns import places
from embedkit.core.pair_files import pair_batches
from embedkit.core.stats import histogram
from embedkit.mining.fates import CANDIDATES
from embedkit.mining.miner import CHOSEN, NAMES, SPARE

_HUBS: Final = 10
_HUB_SHARE: Final = 0.05  # a negative of more queries than this is worth a warning
_FEW_SHARE: Final = 0.1
_ROWS: Final = 1 << 17  # candidates in memory at a time
_AFTER: Final = len(NAMES)  # reasons from here on are drops

Doubles = NDArray[np.float64]


@dataclass
class Tally:
    """What pairs.parquet and candidates.parquet say, summed up."""

    found: list[int] = field(default_factory=list)  # per query, negatives
    suspects: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    ranks: int = 0  # sum of those of negatives
    sums: Counter[str] = field(default_factory=Counter)  # of scores, by group
    sizes: Counter[str] = field(default_factory=Counter)
    low: float = math.inf
    high: float = -math.inf


def describe(out: Path, *, wanted: int, doc_ids: Sequence[str], reasons: Sequence[str]) -> dict[str, Any]:
    """stats.json of the mine stage, from the pairs.parquet and candidates.parquet in `out`.

    `reasons` are those for dropping a candidate, in the order they apply: the excluded ones, then the filters.
    """
    tally, served = Tally(), np.zeros(len(doc_ids), dtype=np.int64)
    for rows in pair_batches(out):
        tally.found += [len(row.negatives) for row in rows]
        tally.suspects += sum(len(row.suspects) for row in rows)
        hit = places(doc_ids, [doc for row in rows for doc in row.negatives])
        served += np.bincount(hit, minlength=len(served))
    for group, scores, ranks, names in _groups(out, reasons):
        _add(tally, group, scores)
        tally.ranks += int(ranks.sum()) if group == "negatives" else 0
        tally.reasons.update(names)
    counts = {
        "queries": len(tally.found),
        "documents": len(doc_ids),
        "candidates": tally.reasons.total(),
        "negatives": sum(tally.found),
        "distinct_negatives": int(np.count_nonzero(served)),
        "suspects": tally.suspects,
        "spare": tally.reasons[NAMES[SPARE]],
        "queries_with_fewer": sum(0 < n < wanted for n in tally.found),
        "queries_without": tally.found.count(0),
    }
    stats = {
        "counts": counts,
        "filters": [{"name": name, "dropped": tally.reasons[name]} for name in reasons],
        "histograms": _histograms(out, reasons, tally),
        "means": {name: tally.sums[name] / size for name, size in tally.sizes.items() if size},
        "mean_rank": tally.ranks / tally.sizes["negatives"] if tally.sizes["negatives"] else None,
        "hubs": _hubs(served, doc_ids),
    }
    return {**stats, "summary": _summary(stats, wanted), "warnings": _warnings(stats, wanted)}


def _groups(out: Path, reasons: Sequence[str]) -> Iterator[tuple[str, Doubles, NDArray[np.int64], Counter[str]]]:
    """Scores and ranks of positives, negatives and dropped candidates, and how many candidates have which reason."""
    dropped = set(reasons)
    for rows in pair_batches(out):
        scores = np.array([score for row in rows for score in row.positive_scores], dtype=np.float64)
        yield "positives", scores, np.empty(0, dtype=np.int64), Counter()
    excluded = {"known_positive", "duplicate_of_positive", "same_text_as_query"}
    for batch in pq.ParquetFile(out / CANDIDATES).iter_batches(batch_size=_ROWS):
        names = np.asarray(batch.column("reason").to_pylist(), dtype=object)
        scores = batch.column("score").to_numpy(zero_copy_only=False).astype(np.float64)
        ranks = batch.column("rank").to_numpy(zero_copy_only=False).astype(np.int64)
        yield "negatives", scores[names == NAMES[CHOSEN]], ranks[names == NAMES[CHOSEN]], Counter(names.tolist())
        filtered = np.isin(names, list(dropped - excluded))
        yield "dropped", scores[filtered], ranks[filtered], Counter()


def _add(tally: Tally, group: str, scores: Doubles) -> None:
    finite = scores[np.isfinite(scores)]
    tally.sums[group] += float(finite.sum())  # type: ignore[assignment]
    tally.sizes[group] += len(finite)
    if len(finite):
        tally.low, tally.high = min(tally.low, float(finite.min())), max(tally.high, float(finite.max()))


def _histograms(out: Path, reasons: Sequence[str], tally: Tally) -> dict[str, Any]:
    """One histogram a group, over the range of all."""
    if not tally.low <= tally.high:
        return {}
    low, high = _range(tally.low, tally.high)
    found: dict[str, Any] = {name: histogram([], low=low, high=high) for name in ("positives", "negatives", "dropped")}
    for group, scores, _, _ in _groups(out, reasons):
        part = histogram(scores[np.isfinite(scores)], low=low, high=high)
        before = found[group]
        before["counts"] = [a + b for a, b in zip(before["counts"], part["counts"], strict=True)]
        before["n"] += part["n"]
    return found


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


def _hubs(served: NDArray[np.int64], doc_ids: Sequence[str]) -> list[dict[str, Any]]:
    best = np.argsort(-served, kind="stable")[: 2 * _HUBS]
    listed = sorted((-int(served[row]), doc_ids[int(row)]) for row in best if served[row])[:_HUBS]
    return [{"doc_id": doc, "queries": -count} for count, doc in listed]


def _summary(stats: Mapping[str, Any], wanted: int) -> list[str]:
    counts, means = stats["counts"], stats["means"]
    full = counts["queries"] - counts["queries_with_fewer"] - counts["queries_without"]
    lines = [
        f"{counts['queries']:,} queries over {counts['documents']:,} documents: {wanted} negatives each for {full:,}, "
        f"fewer for {counts['queries_with_fewer']:,}, none for {counts['queries_without']:,}"
    ]
    drops = [f"{row['name'].replace('_', ' ')} {row['dropped']:,}" for row in stats["filters"] if row["dropped"]]
    lines.append(f"dropped of {counts['candidates']:,} candidates: {', '.join(drops) or 'none'}")
    listed = ", ".join(f"{name} {value:.3f}" for name, value in means.items())
    rank = "" if stats["mean_rank"] is None else f"; negatives' mean rank {stats['mean_rank']:.1f}"
    lines.append(f"mean scores: {listed}{rank}")
    return lines


def _warnings(stats: Mapping[str, Any], wanted: int) -> list[str]:
    counts, warnings = stats["counts"], []
    few = counts["queries_with_fewer"] + counts["queries_without"]
    if few > _FEW_SHARE * counts["queries"]:
        warnings.append(
            f"{few:,} of {counts['queries']:,} queries have fewer than {wanted} negatives; "
            "a larger top_k or looser filters would find more"
        )
    # with few documents some must serve often: a hub stands out against an even spread
    even = counts["negatives"] / max(counts["documents"], 1)
    if stats["hubs"] and stats["hubs"][0]["queries"] > max(_HUB_SHARE * counts["queries"], 10 * even):
        hub = stats["hubs"][0]
        warnings.append(f"document {hub['doc_id']!r} is a negative of {hub['queries']:,} queries")
    return warnings
