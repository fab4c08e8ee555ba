"""Soft top-k of DEXML, in plain loops."""

import math

from tests.oracles import dot

Vectors = list[list[float]]


def soft_top_k_by_hand(
    queries: Vectors,
    documents: Vectors,
    positives: list[list[int]],
    out: set[tuple[int, int]],
    temperature: float,
    k: int | None,
    alpha: float,
) -> float:
    """`out` has the (query, document) pairs beside `positives` that take no part; k None: the number of positives."""
    total = 0.0
    for i, query in enumerate(queries):
        part = [j for j in range(len(documents)) if j in positives[i] or (i, j) not in out]
        x = [dot(query, documents[j]) / temperature for j in part]
        if len(part) == len(positives[i]):
            continue
        number = min(len(positives[i]) if k is None else k, len(part) - 1)
        z = dict(zip(part, memberships_by_hand(x, number, alpha), strict=True))
        total -= sum(math.log(z[p]) for p in positives[i]) / len(positives[i])
    return total / len(queries)


def memberships_by_hand(x: list[float], k: int, alpha: float) -> list[float]:
    """σ(α (x + t)), with t by bisection such that they add up to k."""
    low, high = -max(x) - 50 / alpha, -min(x) + 50 / alpha
    for _ in range(200):
        t = (low + high) / 2
        z = [sigmoid(alpha * (value + t)) for value in x]
        low, high = (t, high) if sum(z) < k else (low, t)
    return z


def gradient_by_hand(x: list[float], positives: list[int], k: int, alpha: float) -> list[float]:
    """Derivatives of the loss of one query by its logits, from the implicit derivative of t."""
    z = memberships_by_hand(x, k, alpha)
    v = [alpha * value * (1 - value) for value in z]
    gradient = []
    for j in range(len(x)):
        terms = [alpha * (1 - z[p]) * ((p == j) - v[j] / sum(v)) for p in positives]
        gradient.append(-sum(terms) / len(positives))
    return gradient


def sigmoid(value: float) -> float:
    """1 / (1 + e^−v)"""
    return 1 / (1 + math.exp(-value)) if value > 0 else math.exp(value) / (1 + math.exp(value))
