"""Pearson, RankKL and PRO over one list of scores and targets, in plain loops."""

import math


def pearson_by_hand(scores: list[float], targets: list[float]) -> float:
    """One minus the correlation; 0 where targets are all equal."""
    count = len(scores)
    if max(targets) == min(targets):
        return 0.0
    mean_s, mean_y = sum(scores) / count, sum(targets) / count
    both = sum((s - mean_s) * (y - mean_y) for s, y in zip(scores, targets, strict=True)) / count
    variance_s = sum((s - mean_s) ** 2 for s in scores) / count
    variance_y = sum((y - mean_y) ** 2 for y in targets) / count
    return 1 - both / math.sqrt(variance_s * variance_y)


def ideal_by_hand(targets: list[float]) -> list[float]:
    """From 1 (highest target) to 0, equal targets at the mean of their places."""
    count = len(targets)
    if count == 1:
        return [0.0]
    order = sorted(range(count), key=lambda i: -targets[i])
    places: dict[float, list[int]] = {}
    for place, i in enumerate(order):
        places.setdefault(targets[i], []).append(place)
    ranks = [sum(places[y]) / len(places[y]) for y in targets]
    return [(count - 1 - rank) / (count - 1) for rank in ranks]


def rank_kl_by_hand(scores: list[float], targets: list[float], temperature: float) -> float:
    """KL divergence of the softmax of scores from that of ranks."""
    teacher = softmax([a / temperature for a in ideal_by_hand(targets)])
    student = softmax([s / temperature for s in scores])
    return sum(t * (math.log(t) - math.log(s)) for t, s in zip(teacher, student, strict=True))


def pro_by_hand(scores: list[float], targets: list[float], temperature: float, *, normalize: bool) -> float:
    """Sorted by target, each pair against the later ones of a target that is lower; mean over those that have any."""
    low, high = min(targets), max(targets)
    if normalize and high > low:
        targets = [(y - low) / (high - low) for y in targets]
    order = sorted(range(len(targets)), key=lambda i: -targets[i])
    losses = []
    for place, k in enumerate(order):
        later = [j for j in order[place + 1 :] if targets[j] < targets[k]]
        if later:
            weights = [targets[k] - targets[j] for j in later]
            positive = scores[k] * max(weights) / temperature
            logits = [scores[j] * w / temperature for j, w in zip(later, weights, strict=True)]
            losses.append(math.log(sum(math.exp(x - positive) for x in [positive, *logits])))
    return sum(losses) / len(losses) if losses else 0.0


def softmax(values: list[float]) -> list[float]:
    """e^v over its sum."""
    weights = [math.exp(v - max(values)) for v in values]
    return [w / sum(weights) for w in weights]
