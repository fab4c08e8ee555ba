import numpy as np
import pytest

from embedkit.core.errors import DataError
from embedkit.mining.filters import NONE, Filter, PercentOfPositive, RankWindow, ScoreRange
from embedkit.mining.miner import CHOSEN, EMPTY, SPARE, best, choose_negatives, find_rows, find_suspects
from embedkit.mining.sampling import Random, Top
from tests.mining.cases import candidates, random_candidates

FILTERS = (PercentOfPositive(ratio=0.9), RankWindow(last=8), ScoreRange(minimum=-0.9))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("sampling", [Top(), Random(seed=3)], ids=lambda s: s.kind)
def test_laws_of_the_choice(seed: int, sampling):
    given = random_candidates(seed)
    choice = choose_negatives(given, FILTERS, count=3, sampling=sampling)
    passing = given.eligible & np.logical_and.reduce([rule(given) for rule in FILTERS])
    for q, columns in enumerate(choice.columns):
        chosen = columns[columns != NONE]
        assert columns.tolist() == [*chosen, *[NONE] * (3 - len(chosen))]  # nothing filled in, gaps behind
        assert chosen.tolist() == sorted(set(chosen.tolist()))  # best first, each once
        assert passing[q, chosen].all()
        assert len(chosen) == min(3, passing[q].sum())
        assert not given.excluded["known_positive"][q, chosen].any()
    present = (given.rows != NONE).sum()
    assert choice.count(CHOSEN) + choice.count(SPARE) + sum(choice.dropped.values()) == present
    assert choice.count(EMPTY) == given.rows.size - present
    assert choice.count(CHOSEN) == (choice.columns != NONE).sum()


def test_each_candidate_is_counted_once_under_the_first_reason():
    given = candidates([[0.9, 0.8, 0.3, 0.2]], [[0.85]], known=[[True, False, False, False]])
    choice = choose_negatives(given, [PercentOfPositive(ratio=0.9), ScoreRange(maximum=0.25)], count=2)
    assert choice.dropped == {"known_positive": 1, "percent_of_positive": 1, "score_range": 1}
    assert choice.columns.tolist() == [[3, NONE]]
    names = [choice.names[reason] for reason in choice.reasons[0]]
    assert names == ["known_positive", "percent_of_positive", "score_range", "chosen"]


def test_suspects_do_not_depend_on_the_order_of_filters_and_are_never_known():
    made = candidates([[0.9, 0.8, 0.7, 0.2]], [[0.8]], known=[[True, False, False, False]])
    rules = [RankWindow(first=2), PercentOfPositive(ratio=0.9)]
    assert find_suspects(made, rules).tolist() == [[False, True, False, False]]
    assert find_suspects(made, rules[::-1]).tolist() == [[False, True, False, False]]
    assert not find_suspects(made, rules[:1]).any()
    assert not find_suspects(made, []).any()


def test_two_filters_of_a_kind_are_counted_apart():
    given = candidates([[0.9, 0.5, 0.1]], [[0.9]])
    choice = choose_negatives(given, [ScoreRange(maximum=0.6), ScoreRange(minimum=0.4)], count=1)
    assert choice.dropped == {"known_positive": 0, "score_range": 1, "score_range_2": 1}


def test_random_sampling_of_a_query_does_not_depend_on_others():
    rng = np.random.default_rng(0)
    scores = -np.sort(-rng.random((5, 20)), axis=1)
    ids = ["a", "b", "c", "d", "e"]
    whole = choose_negatives(candidates(scores, [[2.0]] * 5, ids=ids), [], count=4, sampling=Random(seed=1))
    part = choose_negatives(candidates(scores[3:], [[2.0]] * 2, ids=ids[3:]), [], count=4, sampling=Random(seed=1))
    np.testing.assert_array_equal(whole.columns[3:], part.columns)
    other = choose_negatives(candidates(scores, [[2.0]] * 5, ids=ids), [], count=4, sampling=Random(seed=2))
    assert (whole.columns != other.columns).any()
    assert len({tuple(row) for row in whole.columns.tolist()}) > 1  # queries draw differently


def test_random_sampling_is_even():
    given = candidates(np.zeros((3000, 6)), [[1.0]] * 3000)
    choice = choose_negatives(given, [], count=2, sampling=Random(seed=0))
    shares = np.bincount(choice.columns.ravel(), minlength=6) / 3000
    np.testing.assert_allclose(shares, 1 / 3, atol=0.05)


def test_a_filter_of_the_wrong_shape_is_refused():
    class Broken(Filter):
        kind: str = "broken"

        def __call__(self, given):
            return np.ones(3, dtype=bool)

    with pytest.raises(DataError, match=r"filter broken: gave bool \(3,\); bool \(1, 2\) is right"):
        choose_negatives(candidates([[0.1, 0.2]], [[0.5]]), [Broken()], count=1)


def test_best_keeps_the_excluded_that_stand_before_the_last():
    known = [[True, False, True, False, False, True], [False] * 6]
    given = best(candidates(np.linspace(1, 0, 6)[None].repeat(2, 0), [[1.0]] * 2, known=known), 2)
    assert given.rows.tolist() == [[0, 1, 2, 3], [0, 1, NONE, NONE]]
    assert given.ranks.max(axis=1).tolist() == [2, 2]
    assert given.excluded["known_positive"].tolist() == [[True, False, True, False], [False] * 4]


def test_find_rows_is_membership_row_by_row():
    rows = np.array([[0, 7, 3], [7, NONE, 0], [1, 2, 3]])
    wanted = [np.array([7, 50]), np.array([0, 7]), np.array([], dtype=np.int64)]
    assert find_rows(rows, wanted).tolist() == [[False, True, False], [True, False, True], [False] * 3]
    assert not find_rows(rows, [np.array([], dtype=np.int64)] * 3).any()


def test_a_missing_place_is_no_row_of_another_query():
    # -1 of query 1 would be the last row of query 0 if places were not told apart
    rows = np.array([[2, 1], [NONE, NONE]])
    assert not find_rows(rows, [np.array([9]), np.array([8])]).any()
