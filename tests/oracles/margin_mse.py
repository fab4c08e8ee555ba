"""MarginMSE in plain loops."""


def margin_mse_by_hand(scores: list[list[float]], targets: list[list[float]], positives: list[int]) -> float:
    """Mean over queries of the mean squared error of margins; list i begins with its `positives[i]` positives."""
    total = 0.0
    for score, target, count in zip(scores, targets, positives, strict=True):
        errors = [
            ((score[p] - score[n]) - (target[p] - target[n])) ** 2
            for p in range(count)
            for n in range(count, len(score))
        ]
        total += sum(errors) / len(errors) if errors else 0.0
    return total / len(scores)
