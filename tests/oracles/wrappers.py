"""What losses around another loss change in a batch, in plain loops."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.oracles.infonce import dot

Vector = list[float]
Lists = list[list[int]]
Pairs = set[tuple[int, int]]
_ALL = 2**64


def weighted_infonce_by_hand(
    queries: list[Vector],
    documents: list[Vector],
    positives: Lists,
    negatives: Lists,
    out: Pairs,
    temperature: float,
    directions: tuple[str, ...],
    weight: Callable[[str, int, int, int], float],
) -> float:
    """InfoNCE whose negative j of query i and its positive p has weight(direction, i, p, j); `out` is excluded."""

    def e(a: Vector, b: Vector) -> float:
        return math.exp(dot(a, b) / temperature)

    out = out | {(i, p) for i, row in enumerate(positives) for p in row}
    total = 0.0
    for i, query in enumerate(queries):
        for p in positives[i]:
            own = e(query, documents[p])
            z = own
            for j, document in enumerate(documents):
                if (i, j) not in out:
                    z += weight("query_to_document", i, p, j) * e(query, document)
                    if "document_to_document" in directions and j not in negatives[i]:
                        z += weight("document_to_document", i, p, j) * e(documents[p], document)
            for j, other in enumerate(queries):
                if j != i and (j, p) not in out:
                    if "query_to_query" in directions:
                        z += weight("query_to_query", i, p, j) * e(query, other)
                    if "document_to_query" in directions:
                        z += weight("document_to_query", i, p, j) * e(documents[p], other)
            if "document_to_query" in directions:
                z += own
            total += math.log(z / own) / len(positives[i])
    return total / len(queries)


def guided_by_hand(
    queries: list[Vector], documents: list[Vector], positives: Lists, margin: float, *, relative: bool
) -> Callable[[str, int, int, int], float]:
    """Weights 0 and 1 by a guide's embeddings."""

    def weight(direction: str, i: int, p: int, j: int) -> float:
        limit = min(dot(queries[i], documents[o]) for o in positives[i])
        limit -= abs(limit) * margin if relative else margin
        anchor = queries[i] if direction.startswith("query") else documents[p]
        other = queries[j] if direction.endswith("query") else documents[j]
        return 0.0 if dot(anchor, other) > limit else 1.0

    return weight


def progressive_by_hand(
    queries: list[Vector], documents: list[Vector], positives: Lists, level: float
) -> Callable[[str, int, int, int], float]:
    """Weights of negatives that score above the positive."""

    def weight(direction: str, i: int, p: int, j: int) -> float:
        score = dot(queries[i], documents[j])
        if direction != "query_to_document" or score <= min(dot(queries[i], documents[o]) for o in positives[i]):
            return 1.0
        return max(level + score, 0.01)

    return weight


def cut_by_hand(vectors: list[Vector], dims: int) -> list[Vector]:
    """The first dimensions of each vector, at unit length."""
    return [normalized_by_hand(vector[:dims]) for vector in vectors]


def normalized_by_hand(vector: Vector) -> Vector:
    """The vector at unit length."""
    length = math.sqrt(dot(vector, vector))
    return [x / length for x in vector]


def splitmix_by_hand(state: int) -> int:
    """The number that SplitMix64 gives in this state."""
    z = (state + 0x9E3779B97F4A7C15) % _ALL
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % _ALL
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % _ALL
    return z ^ (z >> 31)


def hash_by_hand(seed: int, *keys: int) -> int:
    """A hash of the seed and the keys, 0 to below 2⁶⁴."""
    state = splitmix_by_hand(seed % _ALL)
    for key in keys:
        state = splitmix_by_hand(state ^ key % _ALL)
    return state


def place_by_hand(size: int, *keys: int) -> int:
    """A number from 0 to below `size`."""
    return (hash_by_hand(*keys) >> 1) % size


def uniform_by_hand(*keys: int) -> float:
    """The middle of one of 2²³ equal parts of 0 to 1."""
    return ((hash_by_hand(*keys) >> 41) + 0.5) / 2**23


def beta_by_hand(*keys: int) -> float:
    """The middle of three uniforms."""
    return sorted(uniform_by_hand(*keys, draw) for draw in range(3))[1]


@dataclass
class Mix:
    """A mixed document of query `row`: the weights of columns, and that of the query."""

    row: int
    weights: dict[int, float]
    share: float = 0.0


@dataclass
class Mixed:
    """Documents, own negatives, exclusions and own targets, with mixes at the end of each; guide of documents."""

    documents: list[Vector]
    negatives: Lists
    out: Pairs
    targets: list[list[float]]
    guide: list[Vector]
    left_out: int = 0
    mixes: list[Mix] = field(default_factory=list)


def pairs_by_hand(pools: Lists, count: int, seed: int, ids: list[int], draw: Callable[..., float]) -> list[Mix]:
    """Mixes of two of each pool; pools are in the order of the ids of documents."""
    mixes = []
    for i, pool in enumerate(pools):
        for number in range(count if len(pool) > 1 else 0):
            first = place_by_hand(len(pool), seed, ids[i], number, 0)
            others = pool[first + 1 :] + pool[:first]
            second = place_by_hand(len(others), seed, ids[i], number, 1)
            weight = draw(seed, ids[i], number, 2)
            mixes.append(Mix(i, {pool[first]: weight, others[second]: 1 - weight}))
    return mixes


def with_query_by_hand(pools: Lists, count: int, seed: int, ids: list[int]) -> list[Mix]:
    """Mixes of one of each pool and the query."""
    mixes = []
    for i, pool in enumerate(pools):
        for number in range(count if pool else 0):
            share = uniform_by_hand(seed, ids[i], number, 4) / 2
            mixes.append(Mix(i, {pool[place_by_hand(len(pool), seed, ids[i], number, 3)]: 1 - share}, share))
    return mixes


def lists_by_hand(pools: Lists, queries: list[Vector], documents: list[Vector], temperature: float) -> list[Mix]:
    """One mix of the whole of each pool, its weights a softmax of scores."""
    mixes = []
    for i, pool in enumerate(pools):
        weights = {j: math.exp(dot(queries[i], documents[j]) / temperature) for j in pool}
        if len(pool) > 1:
            mixes.append(Mix(i, {j: w / sum(weights.values()) for j, w in weights.items()}))
    return mixes


def pools_by_hand(lists: Lists, out: Pairs, doc_ids: list[int]) -> Lists:
    """The distinct columns of each list that are not excluded, by id."""
    return [
        sorted({j for j in columns if (i, j) not in out}, key=lambda j: doc_ids[j]) for i, columns in enumerate(lists)
    ]


def hardest_by_hand(pools: Lists, queries: list[Vector], documents: list[Vector], number: int) -> Lists:
    """The columns of each list that its query scores highest, in the order of the list."""
    kept = []
    for query, pool in zip(queries, pools, strict=True):
        best = sorted(pool, key=lambda j: -dot(query, documents[j]))[:number]
        kept.append([j for j in pool if j in best])
    return kept


def mixed_by_hand(
    mixes: list[Mix],
    queries: list[Vector],
    documents: list[Vector],
    positives: Lists,
    negatives: Lists,
    out: Pairs,
    targets: list[list[float]],
    guide: tuple[list[Vector], list[Vector]],
    *,
    own: bool = True,
    margin: float = 0.0,
) -> Mixed:
    """What a batch becomes; `out` has the positives too."""
    result = Mixed(
        list(documents),
        [list(n) for n in negatives],
        set(out),
        [list(t) for t in targets],
        list(guide[1]),
    )
    for mix in mixes:
        i, query = mix.row, queries[mix.row]
        vector = normalized_by_hand(_sum(mix, query, documents))
        if dot(query, vector) > min(dot(query, documents[p]) for p in positives[i]) - margin:
            result.left_out += 1
            continue
        column = len(result.documents)
        result.documents.append(vector)
        result.guide.append(normalized_by_hand(_sum(mix, guide[0][i], guide[1])))
        result.mixes.append(mix)
        result.out |= {(r, column) for r in range(len(queries)) if any((r, j) in out for j in mix.weights)}
        if own:
            scores = dict(reversed(list(zip(positives[i] + negatives[i], targets[i], strict=True))))
            lowest = min(scores[p] for p in positives[i])
            result.negatives[i].append(column)
            result.targets[i].append(mix.share * lowest + sum(w * scores[j] for j, w in mix.weights.items()))
    return result


def _sum(mix: Mix, query: Vector, documents: list[Vector]) -> Vector:
    return [mix.share * x + sum(w * documents[j][d] for j, w in mix.weights.items()) for d, x in enumerate(query)]
