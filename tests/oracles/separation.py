"""Separation, calibration and thresholds, pair by pair. Imports nothing of embedkit."""

import math


def auc_by_hand(positive: list[float], negative: list[float]) -> float:
    """Wins of positives over negatives, a tie being half a win."""
    wins = 0.0
    for p in positive:
        for n in negative:
            wins += 1.0 if p > n else 0.5 if p == n else 0.0
    return wins / (len(positive) * len(negative))


def ece_by_hand(probabilities: list[float], relevant: list[bool], bins: int) -> float:
    """Equal bins of [0, 1], each open below."""
    total = 0.0
    for b in range(bins):
        low, high = b / bins, (b + 1) / bins
        inside = [i for i, p in enumerate(probabilities) if (low < p <= high) or (b == 0 and p == 0)]
        if inside:
            share = sum(relevant[i] for i in inside) / len(inside)
            promised = sum(probabilities[i] for i in inside) / len(inside)
            total += len(inside) / len(probabilities) * abs(share - promised)
    return total


def counts_above_by_hand(scores: list[float], relevant: list[bool], threshold: float) -> tuple[int, int]:
    """Relevant and other pairs at or above the threshold."""
    above = [r for s, r in zip(scores, relevant, strict=True) if s >= threshold]
    return sum(above), len(above) - sum(above)


def threshold_by_hand(scores: list[float], relevant: list[bool], wanted: float) -> float | None:
    """The score with the highest recall among those whose precision is enough, the highest such score."""
    best: tuple[int, float] | None = None
    for threshold in sorted(set(scores)):
        right, wrong = counts_above_by_hand(scores, relevant, threshold)
        if right and right / (right + wrong) >= wanted and (best is None or right > best[0] or threshold > best[1]):
            best = (right, threshold) if best is None or right >= best[0] else best
    return best[1] if best else None


def uniformity_by_hand(vectors: list[list[float]], t: float) -> float:
    """ln of the mean kernel over pairs of two vectors of length 1."""
    unit = [[x / math.sqrt(sum(y * y for y in v)) for x in v] for v in vectors]
    kernels = [
        math.exp(-t * sum((a - b) ** 2 for a, b in zip(unit[i], unit[j], strict=True)))
        for i in range(len(unit))
        for j in range(i)
    ]
    return math.log(sum(kernels) / len(kernels))


def protocol_by_hand(
    run: dict[str, dict[str, float]], qrels: dict[str, dict[str, int]], own: dict[tuple[str, str], float], depth: int
) -> dict[str, list[tuple[float, bool]]]:
    """query -> scored pairs: all relevant documents, and the best others of the run, by falling score."""
    found = {}
    for query, judged in qrels.items():
        documents = run.get(query, {})
        relevant = {doc for doc, grade in judged.items() if grade > 0}
        scores = [documents.get(doc, own.get((query, doc))) for doc in relevant]
        rest = sorted((s for doc, s in documents.items() if doc not in relevant), reverse=True)[:depth]
        pairs = [(s, True) for s in scores if s is not None] + [(s, False) for s in rest]
        found[query] = sorted(pairs, key=lambda pair: -pair[0])
    return found
