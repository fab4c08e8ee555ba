import numpy as np

from embedkit.mining.known import NEAR_QUERY, Judgements
from embedkit.mining.near_queries import NearQueries


def vectors() -> np.ndarray:
    """Six queries: 0, 1 and 4 nearly the same but for their lengths, 5 the opposite."""
    rng = np.random.default_rng(0)
    made = rng.normal(size=(6, 32))
    made[1] = 3 * made[0] + 0.05 * rng.normal(size=32)
    made[4] = 0.2 * made[0]
    made[5] = -made[0]
    return made.astype(np.float32)


def test_near_is_by_cosine_and_not_by_length():
    near = NearQueries(vectors(), 0.9)
    assert [rows.tolist() for rows in near.of(range(6))] == [[1, 4], [0, 4], [], [], [0, 1], []]
    assert [rows.tolist() for rows in near.of(range(4, 6))] == [[0, 1], []]
    assert len(near.of(range(0))) == 0


def test_near_queries_are_all_pairs_by_hand():
    rng = np.random.default_rng(1)
    made = rng.normal(size=(40, 3)).astype(np.float32)
    unit = made / np.linalg.norm(made, axis=1, keepdims=True)
    expected = [[b for b in range(40) if b != a and unit[a] @ unit[b] >= 0.8] for a in range(40)]
    assert [rows.tolist() for rows in NearQueries(made, 0.8).of(range(40))] == expected


def test_positives_of_near_queries_are_excluded_with_their_copies():
    documents = ["a", "b", "B", "c", "d", "near"]
    judgements = Judgements(["one", "other", "near"], documents, [np.array([0]), np.array([1, 0]), np.array([3, 5])])
    near = [np.array([1]), np.array([0, 2]), np.empty(0, dtype=np.int64)]
    known = judgements.known(range(3), near)
    assert [rows.tolist() for rows in known.reasons()[NEAR_QUERY]] == [[1, 2], [3, 5], []]
    assert [rows.tolist() for rows in known.relevant] == [[0], [0, 1], [3, 5]]
    assert [rows.tolist() for rows in known.doubtful()[-1]] == [[1, 2], [3, 5], []]
    assert known.most() == 5
    assert list(judgements.known(range(0), []).reasons())[-1] == NEAR_QUERY
    assert NEAR_QUERY not in judgements.known(range(3)).reasons()


def test_owners_are_by_text():
    documents = ["a", "b", "B", "c"]
    owners = Judgements(["x", "y"], documents, [np.array([0, 1]), np.array([2])]).owners(np.array([0, 1, 2, 3]))
    found = [
        sorted(owners.flat[start : start + count].tolist())
        for start, count in zip(owners.starts, owners.counts, strict=True)
    ]
    assert found == [[0], [0, 1], [0, 1], []]
