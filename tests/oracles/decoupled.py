"""Decoupled and multi-label softmax of DEXML, in plain loops."""

import math

from tests.oracles import dot

Vectors = list[list[float]]


def decoupled_by_hand(
    queries: Vectors,
    documents: Vectors,
    positives: list[list[int]],
    out: set[tuple[int, int]],
    temperature: float,
    *,
    mean: bool = True,
) -> float:
    """`out` has the (query, document) pairs beside `positives` that are no negatives."""
    total = 0.0
    for i, query in enumerate(queries):
        x = [dot(query, document) / temperature for document in documents]
        others = [j for j in range(len(documents)) if j not in positives[i] and (i, j) not in out]
        losses = [
            -math.log(math.exp(x[p]) / (math.exp(x[p]) + sum(math.exp(x[n]) for n in others))) for p in positives[i]
        ]
        total += sum(losses) / len(losses) if mean else sum(losses)
    return total / len(queries)


def multi_label_by_hand(x: list[float], positives: list[int]) -> float:
    """Sum over the positives of their cross-entropy in one softmax of all."""
    total = sum(math.exp(value) for value in x)
    return -sum(math.log(math.exp(x[p]) / total) for p in positives)
