"""Hubness: do a few documents serve as negatives of many queries? Pure."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LISTED: Final = 10
TOP: Final = 0.01  # of the documents


def hubs(served: NDArray[np.int64], doc_ids: Sequence[str]) -> list[dict[str, Any]]:
    """The documents that are negatives of the most queries; equal ones by id among the rows that come first."""
    best = np.argsort(-served, kind="stable")[: 2 * LISTED]
    listed = sorted((-int(served[row]), doc_ids[int(row)]) for row in best if served[row])[:LISTED]
    return [{"doc_id": doc, "queries": -count} for count, doc in listed]


def hubness(served: NDArray[np.int64]) -> dict[str, Any]:
    """How uneven (N,) counts are: how many negatives each document is.

    - `gini`: 0 if every document is as many negatives, towards 1 if one is all.
    - `skewness` of the counts: the usual measure of hubness. Reference: Radovanović, Nanopoulos and Ivanović (2010),
      https://jmlr.org/papers/v11/radovanovic10a.html.
    - `top_share`: of all negatives, those that are among the 1 % of documents that are most; `even_share`: what that
      would be had each negative been drawn at random from all documents.
    """
    total, n = int(served.sum()), len(served)
    if not total:
        return {}
    ordered = np.sort(served).astype(np.float64)
    gini = float(2 * (np.arange(1, n + 1) * ordered).sum() / (n * total) - (n + 1) / n)
    centred = ordered - total / n
    spread = float(np.sqrt((centred**2).mean()))
    top = max(1, math.ceil(TOP * n))
    return {
        "gini": gini,
        "skewness": float((centred**3).mean()) / spread**3 if spread else 0.0,
        "top_documents": top,
        "top_share": float(ordered[-top:].sum()) / total,
        "even_share": _even_share(total / n, top / n),
        "most": int(ordered[-1]),
    }


def _even_share(mean: float, top: float) -> float:
    """The share of the `top` documents with the most, where counts are Poisson with this mean."""
    from scipy.stats import poisson

    counts = np.arange(math.ceil(mean + 12 * math.sqrt(mean) + 20), 0, -1)
    room = np.clip(top - poisson.sf(counts, mean), 0, poisson.pmf(counts, mean))
    return float(min(1.0, (counts * room).sum() / mean))
