"""DCL and DCLW, in plain loops."""

import math

from tests.oracles import dot

Vectors = list[list[float]]


def dcl_by_hand(
    queries: Vectors,
    documents: Vectors,
    positives: list[list[int]],
    negatives: list[list[int]],
    out: set[tuple[int, int]],
    temperature: float,
    directions: tuple[str, ...] = ("query_to_document",),
    *,
    weights: list[list[float]] | None = None,
) -> float:
    """`out` has the (query, document) pairs beside `positives` that are no negatives; `weights` are per positive."""
    out = out | {(i, p) for i, row in enumerate(positives) for p in row}
    total = 0.0
    for i, query in enumerate(queries):
        for place, p in enumerate(positives[i]):
            scores = []
            for j, document in enumerate(documents):
                if (i, j) not in out:
                    if "query_to_document" in directions:
                        scores.append(dot(query, document))
                    if "document_to_document" in directions and j not in negatives[i]:
                        scores.append(dot(documents[p], document))
            for j, other in enumerate(queries):
                if j != i and (j, p) not in out:
                    if "query_to_query" in directions:
                        scores.append(dot(query, other))
                    if "document_to_query" in directions:
                        scores.append(dot(documents[p], other))
            if scores:
                weight = weights[i][place] if weights else 1.0
                loss = math.log(sum(math.exp(s / temperature) for s in scores))
                total += (loss - weight * dot(query, documents[p]) / temperature) / len(positives[i])
    return total / len(queries)


def weights_by_hand(
    queries: Vectors, documents: Vectors, positives: list[list[int]], sigma: float
) -> list[list[float]]:
    """2 − e^{s / σ} over its mean, each query counting as one."""
    powers = [[math.exp(dot(query, documents[p]) / sigma) for p in positives[i]] for i, query in enumerate(queries)]
    mean = sum(sum(row) / len(row) for row in powers) / len(powers)
    return [[2 - power / mean for power in row] for row in powers]
