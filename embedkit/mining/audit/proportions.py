"""A share and how well it is known. Pure."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def exact_interval(hits: float, n: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a share of which `hits` of `n` draws are known: (0, 1) without any.

    Of all shares, those that give neither so many hits nor so few with a probability below (1 - confidence) / 2. `n`
    may be an effective number of draws, no whole one. Reference: Clopper and Pearson (1934),
    https://doi.org/10.1093/biomet/26.4.404; for effective numbers Korn and Graubard (1998), Survey Methodology 24.
    """
    from scipy.stats import beta

    if n <= 0:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, hits, n - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, n - hits)) if hits < n else 1.0
    return low, high


def clustered_interval(
    hits: ArrayLike, draws: ArrayLike, *, confidence: float = 0.95, others: float = math.inf
) -> tuple[float, float]:
    """Interval of Σ hits / Σ draws, where hits and draws of one entry (a query) go together.

    With a number of `others`, of the share of hits among so many other draws of the kind: it varies too, so that each
    draw counts for others / (Σ draws + others) of one.

    The exact interval of as many independent draws as have the ratio's linearised variance

        var = g / (g - 1) · Σ (hits - p · draws)² / (Σ draws)²,     draws* = p (1 - p) / var

    over g entries, but never more than Σ draws. Where p is 0 or 1 there is no variance to be seen: each entry counts as
    one draw. Reference: Korn and Graubard (1998), as above.
    """
    x, n = np.asarray(hits, dtype=np.float64), np.asarray(draws, dtype=np.float64)
    total, groups = float(n.sum()), int(np.count_nonzero(n))
    if not total:
        return 0.0, 1.0
    share, worth = min(1.0, float(x.sum()) / total), 1 / (1 + total / others)
    if share in (0.0, 1.0) or groups < 2:
        return exact_interval(share * groups * worth, groups * worth, confidence=confidence)
    variance = groups / (groups - 1) * float(((x - share * n) ** 2).sum()) / total**2
    effective = worth * (min(total, share * (1 - share) / variance) if variance else total)
    return exact_interval(share * effective, effective, confidence=confidence)


def told(value: float, interval: tuple[float, float]) -> dict[str, Any]:
    """A share with its interval, as stats.json has it."""
    return {"value": value, "low": interval[0], "high": interval[1]}
