"""InfoNCE with all its options, in plain loops."""

import math
from collections.abc import Callable

Vectors = list[list[float]]


def infonce_by_hand(
    queries: Vectors,
    documents: Vectors,
    positives: list[list[int]],
    negatives: list[list[int]],
    known: set[tuple[int, int]],
    temperature: float,
    directions: tuple[str, ...] = ("query_to_document",),
    *,
    suspects: set[tuple[int, int]] = frozenset(),  # type: ignore[assignment]
    others_push: bool = False,
    focal: float = 0.0,
    hardness: Callable[[int, int], float] = lambda i, j: 0.0,
    same_class: Callable[[str, int, int], bool] = lambda side, i, j: False,
    stopped: tuple[Vectors, Vectors] | None = None,
) -> float:
    """InfoNCE; `known` and `suspects` have (query, document) pairs beside `positives` that are no negatives.

    `hardness(i, j)` is α of a document for a query; the score it multiplies is of the `stopped` embeddings.
    """
    out = known | suspects | {(i, p) for i, row in enumerate(positives) for p in row}
    fixed_queries, fixed_documents = stopped or (queries, documents)

    def weight(a: list[float], b: list[float]) -> float:
        return math.exp(dot(a, b) / temperature)

    total = 0.0
    for i, query in enumerate(queries):
        for p in positives[i]:
            own = weight(query, documents[p])
            z = sum(weight(query, documents[o]) for o in positives[i]) if others_push else own
            for j, document in enumerate(documents):
                if (i, j) not in out and not same_class("document", i, j):
                    extra = math.exp(hardness(i, j) * dot(fixed_queries[i], fixed_documents[j]))
                    z += weight(query, document) * extra
                    if "document_to_document" in directions and j not in negatives[i]:
                        z += weight(documents[p], document)
            for j, other in enumerate(queries):
                if j != i and (j, p) not in out and not same_class("query", i, j):
                    if "query_to_query" in directions:
                        z += weight(query, other)
                    if "document_to_query" in directions:
                        z += weight(documents[p], other)
            if "document_to_query" in directions:
                z += own
            total += (1 - own / z) ** focal * math.log(z / own) / len(positives[i])
    return total / len(queries)


def dot(a: list[float], b: list[float]) -> float:
    """Inner product."""
    return sum(x * y for x, y in zip(a, b, strict=True))
