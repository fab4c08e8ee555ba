"""What a mined set looks like: counts, score distributions, hubs, and every candidate with its fate."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from embedkit.core.records import Pair
from embedkit.core.stats import histogram
from embedkit.mining.filters import NONE, Candidates
from embedkit.mining.miner import CHOSEN, EMPTY, SPARE, Choice

CANDIDATES: Final = "candidates.parquet"
_HUBS: Final = 10
_HUB_SHARE: Final = 0.05  # a negative of more queries than this is worth a warning
_FEW_SHARE: Final = 0.1


def describe(candidates: Candidates, choice: Choice, rows: Sequence[Pair], *, documents: int) -> dict[str, Any]:
    """stats.json of the mine stage."""
    wanted = choice.columns.shape[1]
    found = [len(row.negatives) for row in rows]
    scores, excluded = candidates.signal("encoder"), len(candidates.excluded)
    groups = {
        "positives": np.concatenate([np.asarray(s, dtype=np.float64) for s in candidates.positives["encoder"]]),
        "negatives": scores[choice.reasons == CHOSEN],
        "dropped": scores[choice.reasons > SPARE + excluded],
    }
    hubs = Counter(doc for row in rows for doc in row.negatives)
    ranks = candidates.ranks[choice.reasons == CHOSEN]
    counts = {
        "queries": len(rows),
        "documents": documents,
        "candidates": int(np.count_nonzero(choice.reasons != EMPTY)),
        "negatives": sum(found),
        "distinct_negatives": len(hubs),
        "suspects": sum(len(row.suspects) for row in rows),
        "spare": choice.count(SPARE),
        "queries_with_fewer": sum(0 < n < wanted for n in found),
        "queries_without": found.count(0),
    }
    means = {name: float(np.mean(values, dtype=np.float64)) for name, values in groups.items() if len(values)}
    stats = {
        "counts": counts,
        "filters": [{"name": name, "dropped": dropped} for name, dropped in choice.dropped.items()],
        "histograms": histograms(groups),
        "means": means,
        "mean_rank": float(ranks.mean()) if len(ranks) else None,
        "hubs": [{"doc_id": d, "queries": n} for d, n in sorted(hubs.items(), key=lambda h: (-h[1], h[0]))[:_HUBS]],
    }
    return {**stats, "summary": _summary(stats, wanted), "warnings": _warnings(stats, wanted)}


def histograms(groups: Mapping[str, ArrayLike]) -> dict[str, Any]:
    """One histogram a group, all over the range of all of them; empty if nothing was scored."""
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in groups.items()}
    everything = np.concatenate(list(arrays.values()))
    if not everything.size:
        return {}
    low, high = math.floor(everything.min() * 20) / 20, math.ceil(everything.max() * 20) / 20
    return {name: histogram(values, low=low, high=max(high, low + 0.05)) for name, values in arrays.items()}


def write_candidates(out: Path, candidates: Candidates, choice: Choice, doc_ids: Sequence[str]) -> None:
    """Write candidates.parquet: query_id, doc_id, rank (0: excluded), score, reason; each query's best first."""
    queries, columns = np.nonzero(candidates.rows != NONE)
    at = (queries, columns)
    table = pa.table(
        {
            "query_id": _take(candidates.query_ids, queries),
            "doc_id": _take(doc_ids, candidates.rows[at]),
            "rank": pa.array(candidates.ranks[at].astype(np.int32)),
            "score": pa.array(candidates.signal("encoder")[at].astype(np.float32)),
            "reason": _take(choice.names, choice.reasons[at]),
        }
    )
    pq.write_table(table, out / CANDIDATES, compression="zstd")


def _take(values: Sequence[str], rows: NDArray[Any]) -> pa.Array:
    return pa.array(values, type=pa.string()).take(pa.array(rows.astype(np.int64)))


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
