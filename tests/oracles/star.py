"""STAR's loss, in plain loops."""

import math
from collections.abc import Callable

from tests.oracles import dot


def star_by_hand(
    queries: list[list[float]],
    documents: list[list[float]],
    positives: list[list[int]],
    out: set[tuple[int, int]],
    temperature: float,
    *,
    weight: Callable[[int, int], float] = lambda i, j: 1.0,
) -> float:
    """`out` has the (query, document) pairs beside `positives` that are no negatives."""
    total, count = 0.0, 0
    for i, query in enumerate(queries):
        for j, document in enumerate(documents):
            if (i, j) in out or j in positives[i]:
                continue
            count += 1
            for p in positives[i]:
                gap = (dot(query, document) - dot(query, documents[p])) / temperature
                total += math.log(1 + weight(i, j) * math.exp(gap)) / len(positives[i])
    return total / count
