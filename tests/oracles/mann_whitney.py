"""The Mann-Whitney loss and the area it bounds, in plain Python loops over floats. Imports nothing of embedkit."""

import math

from tests.oracles import dot


def softplus_sum_by_hand(positive: list[float], negative: list[float]) -> float:
    """Σ log(1 + e^{n − p}) over all pairs."""
    gaps = [n - p for n in negative for p in positive]
    return math.fsum(max(gap, 0.0) + math.log1p(math.exp(-abs(gap))) for gap in gaps)


def mann_whitney_by_hand(
    queries: list[list[float]],
    documents: list[list[float]],
    positives: list[list[int]],
    excluded: set[tuple[int, int]],
    temperature: float,
    *,
    weights: list[list[float]] | None = None,
    mean: bool = True,
) -> float:
    """The pairs' sum over the number of positives and, for the mean, of negatives.

    `excluded` has the (query, document) pairs that are no negatives; a weight of 0 makes none of them either.
    """
    high = [dot(q, documents[p]) / temperature for q, row in zip(queries, positives, strict=True) for p in row]
    low = []
    for k, query in enumerate(queries):
        for n, document in enumerate(documents):
            weight = 1.0 if weights is None else weights[k][n]
            if (k, n) not in excluded and weight > 0:
                low.append(dot(query, document) / temperature + math.log(weight))
    return softplus_sum_by_hand(high, low) / len(high) / (len(low) if mean else 1)


def area_over_curve_by_hand(positive: list[float], negative: list[float]) -> float:
    """The share of pairs in which the positive is not above the negative."""
    return sum(p <= n for p in positive for n in negative) / (len(positive) * len(negative))
