"""The formulas in plain Python loops over floats, straight from the papers. Imports nothing of embedkit."""

import math


def dot(a: list[float], b: list[float]) -> float:
    """Inner product."""
    return sum(x * y for x, y in zip(a, b, strict=True))


def slerp_by_hand(first: list[float], second: list[float], t: float) -> list[float]:
    """Spherical interpolation of two vectors that are not parallel, their lengths kept."""
    cosine = dot(first, second) / math.sqrt(dot(first, first) * dot(second, second))
    angle = math.acos(cosine)
    left, right = math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)
    return [left * a + right * b for a, b in zip(first, second, strict=True)]


def ties_by_hand(deltas: list[list[float]], density: float) -> list[float]:
    """Trim, elect sign, disjoint mean, entry by entry."""
    width = len(deltas[0])
    trimmed = []
    for delta in deltas:
        by_size = sorted(range(width), key=lambda i: (-abs(delta[i]), i))
        kept = by_size[: max(1, round(density * width))]
        trimmed.append([delta[i] if i in kept else 0.0 for i in range(width)])
    merged = []
    for column in zip(*trimmed, strict=True):
        sign = 1 if sum(column) >= 0 else -1
        agreeing = [value for value in column if value * sign > 0]
        merged.append(sum(agreeing) / len(agreeing) if agreeing else 0.0)
    return merged


def jaccard_by_hand(a: list[str], b: list[str], words: int) -> float:
    """Shared over all runs of `words` words; a shorter text is one run."""
    runs = []
    for text in (a, b):
        found = set()
        for i in range(len(text)):
            if i == 0 or i + words <= len(text):
                found.add(tuple(text[i : i + words]))
        runs.append(found)
    union = len(runs[0] | runs[1])
    return len(runs[0] & runs[1]) / union if union else 0.0


def percent_of_positive_by_hand(scores: list[float], positives: list[float], ratio: float) -> list[bool]:
    """Which candidates TopK-PercPos keeps, the margin taken on the lowest positive's magnitude."""
    lowest = positives[0]
    for positive in positives:
        lowest = positive if positive < lowest else lowest
    threshold = ratio * lowest if lowest >= 0 else lowest - (1 - ratio) * -lowest
    return [not math.isnan(score) and score <= threshold for score in scores]


def agreement_by_hand(signals: list[list[float]]) -> list[float]:
    """Each candidate's z-scores, one list of scores a signal, averaged; NaN where a signal has none."""
    fused = [0.0] * len(signals[0])
    for scores in signals:
        there = [score for score in scores if not math.isnan(score)]
        mean = sum(there) / len(there) if there else 0.0
        spread = math.sqrt(sum((score - mean) ** 2 for score in there) / len(there)) if there else 0.0
        for i, score in enumerate(scores):
            z = (score - mean) / spread if spread > 1e-6 else score * 0.0
            fused[i] += z / len(signals)
    return fused


def bm25_by_hand(query: list[str], document: list[str], corpus: list[list[str]], k1: float, b: float) -> float:
    """Lucene's BM25 of one document."""
    average = sum(len(other) for other in corpus) / len(corpus)
    total = 0.0
    for word in query:
        having = sum(word in other for other in corpus)
        idf = math.log(1 + (len(corpus) - having + 0.5) / (having + 0.5))
        frequency = document.count(word)
        if frequency:
            total += idf * frequency / (frequency + k1 * (1 - b + b * len(document) / average))
    return total


def z_scores_by_hand(scores: list[float]) -> list[float]:
    """Distance from the mean in standard deviations (of the population); zeros if nothing varies."""
    mean = sum(scores) / len(scores)
    deviation = math.sqrt(sum((s - mean) ** 2 for s in scores) / len(scores))
    return [(s - mean) / deviation if max(scores) - min(scores) > 1e-6 else 0.0 for s in scores]


def ranked_by_hand(scores: dict[str, float]) -> list[str]:
    """Documents best first; of equal scores the greater id first, as trec_eval has it."""
    ranking: list[str] = []
    left = dict(scores)
    while left:
        best = max(left.values())
        winner = max(doc for doc in left if left[doc] == best)
        ranking.append(winner)
        del left[winner]
    return ranking


def ndcg_by_hand(scores: dict[str, float], relevances: dict[str, int], k: int) -> float:
    """Gain is the relevance, discount log2(rank + 1); documents judged below 0 gain nothing."""
    gains = [max(0, relevances.get(doc, 0)) for doc in ranked_by_hand(scores)][:k]
    best = sorted((max(0, relevance) for relevance in relevances.values()), reverse=True)[:k]
    ideal = sum(gain / math.log2(rank + 2) for rank, gain in enumerate(best))
    return sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains)) / ideal if ideal else 0.0


def mrr_by_hand(scores: dict[str, float], relevances: dict[str, int], k: int) -> float:
    for rank, doc in enumerate(ranked_by_hand(scores)[:k]):
        if relevances.get(doc, 0) > 0:
            return 1 / (rank + 1)
    return 0.0


def recall_by_hand(scores: dict[str, float], relevances: dict[str, int], k: int) -> float:
    relevant = [doc for doc, relevance in relevances.items() if relevance > 0]
    found = [doc for doc in ranked_by_hand(scores)[:k] if doc in relevant]
    return len(found) / len(relevant) if relevant else 0.0


def average_precision_by_hand(scores: dict[str, float], relevances: dict[str, int], k: int) -> float:
    relevant = [doc for doc, relevance in relevances.items() if relevance > 0]
    hits, total = 0, 0.0
    for rank, doc in enumerate(ranked_by_hand(scores)[:k]):
        if doc in relevant:
            hits += 1
            total += hits / (rank + 1)
    return total / len(relevant) if relevant else 0.0


def nearest_by_hand(query: list[float], documents: list[list[float]], k: int) -> list[int]:
    """Rows of the k largest dot products, equal ones by row."""
    scores = [dot(query, document) for document in documents]
    return sorted(range(len(documents)), key=lambda row: (-scores[row], row))[:k]


def bootstrap_means_by_hand(differences: list[float], draws: list[list[int]]) -> list[float]:
    """The mean of the differences at each draw's places."""
    return [sum(differences[place] for place in draw) / len(draw) for draw in draws]


def sign_flip_p_by_hand(differences: list[float]) -> float:
    """The share of all sign patterns with a sum at least as far from 0 as the observed one."""
    observed, count = abs(sum(differences)), 0
    for pattern in range(1 << len(differences)):
        flipped = [-d if pattern >> i & 1 else d for i, d in enumerate(differences)]
        count += abs(sum(flipped)) >= observed - 1e-9
    return count / (1 << len(differences))


def fused_by_hand(lists: list[list[tuple[int, float]]], weights: list[float], k: float) -> list[int]:
    """Rows by weighted reciprocal rank fusion of lists of (row, score); equal scores of a list share the mean rank."""
    totals: dict[int, float] = {}
    for entries, weight in zip(lists, weights, strict=True):
        for row, score in entries:
            ranks = [i + 1 for i, (_, other) in enumerate(entries) if other == score]
            totals[row] = totals.get(row, 0.0) + weight / (k + sum(ranks) / len(ranks))
    return sorted(totals, key=lambda row: (-totals[row], row))
