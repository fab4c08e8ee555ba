"""UNPG in plain loops."""

import math
from collections.abc import Callable

Vectors = list[list[float]]


def window_by_hand(scores: list[float], whiskers: float) -> tuple[float, float]:
    """The lowest and highest score that is no outlier."""
    ordered = sorted(scores)
    first, third = ordered[math.floor(0.25 * len(ordered))], ordered[math.floor(0.75 * len(ordered))]
    return first - whiskers * (third - first), third + whiskers * (third - first)


def unpg_by_hand(
    queries: Vectors,
    documents: Vectors,
    positives: list[list[int]],
    negatives: list[list[int]],
    temperature: float,
    whiskers: float | None,
    *,
    weight: Callable[[int, int], float] = lambda i, j: 1.0,
) -> float:
    """Mean over queries; `negatives` are all of a query, in-batch ones too, and `weight` is what rules give them."""
    pairs = [(i, j, dot(queries[i], documents[j])) for i, row in enumerate(negatives) for j in row]
    if whiskers is not None and pairs:
        low, high = window_by_hand([score for *_, score in pairs], whiskers)
        pairs = [(i, j, score) for i, j, score in pairs if low <= score <= high]
    shared = sum(weight(i, j) * math.exp(score / temperature) for i, j, score in pairs)
    total = 0.0
    for i, row in enumerate(positives):
        for p in row:
            own = math.exp(dot(queries[i], documents[p]) / temperature)
            total -= math.log(own / (own + shared)) / len(row)
    return total / len(queries)


def dot(a: list[float], b: list[float]) -> float:
    """Inner product."""
    return sum(x * y for x, y in zip(a, b, strict=True))
