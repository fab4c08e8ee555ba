"""Contrastive attraction and repulsion in plain loops."""

import math
from collections.abc import Callable

Vectors = list[list[float]]


def cacr_by_hand(
    queries: Vectors,
    documents: Vectors,
    positives: list[list[int]],
    negatives: list[list[int]],
    attraction: float,
    repulsion: float,
    *,
    weight: Callable[[int, int], float] = lambda i, j: 1.0,
    stopped: tuple[Vectors, Vectors] | None = None,
) -> float:
    """Mean over queries; `negatives` are all of a query, in-batch ones too, and `weight` is what rules give them.

    Softmax weights are those of the `stopped` embeddings.
    """
    fixed_queries, fixed_documents = stopped or (queries, documents)
    total = 0.0
    for i, query in enumerate(queries):
        fixed = {j: squared(fixed_queries[i], document) for j, document in enumerate(fixed_documents)}
        pull = {p: math.exp(attraction * fixed[p]) for p in positives[i]}
        push = {j: weight(i, j) * math.exp(-repulsion * fixed[j]) for j in negatives[i]}
        total += sum(w / sum(pull.values()) * squared(query, documents[p]) for p, w in pull.items())
        total -= sum(w / sum(push.values()) * squared(query, documents[j]) for j, w in push.items())
    return total / len(queries)


def squared(a: list[float], b: list[float]) -> float:
    """Squared distance."""
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
