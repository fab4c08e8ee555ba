"""LambdaLoss of lists of scores, in plain loops: every ordered pair is looked at, as the authors' code does."""

import math


def lambda_by_hand(scores: list[float], relevant: list[bool], temperature: float, cut: int | None = None) -> float:
    """The loss of one list; of equal scores the first has the better rank."""
    ranks = [
        1 + sum(other > score or (other == score and j < i) for j, other in enumerate(scores))
        for i, score in enumerate(scores)
    ]
    gains = [1 / rank if cut is None or rank <= cut else 0.0 for rank in ranks]
    total, pairs = 0.0, 0
    for i, one in enumerate(scores):
        for j, other in enumerate(scores):
            if relevant[i] != relevant[j]:
                sign = 1 if relevant[i] else -1
                total += abs(gains[i] - gains[j]) * math.log(1 + math.exp(-sign * (one - other) / temperature))
                pairs += 1
    return total / pairs if pairs else 0.0
