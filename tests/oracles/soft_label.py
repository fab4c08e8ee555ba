"""Soft labels over lists of documents, in plain loops."""

import math


def targets_by_hand(scores: list[float], targets: str, temperature: float, normalization: str) -> list[float]:
    """The teacher's probabilities of one list."""
    if normalization != "none" and min(scores) == max(scores):
        return [1 / len(scores) for _ in scores]
    if normalization == "min_max":
        scores = [(s - min(scores)) / (max(scores) - min(scores)) for s in scores]
    if normalization == "z_score":
        mean = sum(scores) / len(scores)
        deviation = math.sqrt(sum((s - mean) ** 2 for s in scores) / len(scores))
        scores = [(s - mean) / deviation for s in scores]
    weights = [math.exp(s / temperature) for s in scores] if targets == "softmax" else scores
    return [w / sum(weights) for w in weights]


def divergence_by_hand(p: list[float], q: list[float], divergence: str) -> float:
    """Of the teacher's probabilities and the student's."""
    if divergence == "cross_entropy":
        return -sum(a * math.log(b) for a, b in zip(p, q, strict=True))
    if divergence == "forward_kl":
        return kl(p, q)
    if divergence == "reverse_kl":
        return kl(q, p)
    if divergence == "symmetric_kl":
        return (kl(p, q) + kl(q, p)) / 2
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    return (kl(p, middle) + kl(q, middle)) / 2


def kl(a: list[float], b: list[float]) -> float:
    """Σ a log(a / b), where 0 log 0 is 0."""
    return sum(x * math.log(x / y) for x, y in zip(a, b, strict=True) if x > 0)


def soft_labels_by_hand(
    scores: list[list[float]],
    lists: list[dict[int, float]],
    temperature: float,
    teacher_temperature: float,
    divergence: str,
    *,
    targets: str = "softmax",
    normalization: str = "none",
    pushed: list[set[int]] | None = None,
) -> float:
    """Mean divergence over queries i of student scores `scores[i][document]`.

    `lists[i]` holds the documents with a teacher score; `pushed[i]` those beside them whose target is 0.
    """
    total = 0.0
    for i, graded in enumerate(lists):
        p = dict(
            zip(graded, targets_by_hand([*graded.values()], targets, teacher_temperature, normalization), strict=True)
        )
        p |= {j: 0.0 for j in (pushed[i] if pushed else set()) if j not in graded}
        weights = [math.exp(scores[i][j] / temperature) for j in p]
        total += divergence_by_hand([*p.values()], [w / sum(weights) for w in weights], divergence)
    return total / len(lists)
