from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from embedkit.mining.fills import AnyFill, Fill, NoFill, RandomFill, Repeat
from embedkit.mining.filters import NONE, ScoreRange
from embedkit.mining.known import Known
from embedkit.mining.miner import choose_negatives
from tests.mining.cases import candidates, query_of

EXAMPLES = (NoFill(), RandomFill(seed=1), Repeat())
NOTHING = np.empty(0, dtype=np.int64)


def case(queries: int = 40, documents: int = 60):
    """Queries with 6 of the documents as candidates, of which the first, a known positive, and some others are out."""
    rng = np.random.default_rng(0)
    rows = np.array([rng.permutation(documents)[:6] for _ in range(queries)])
    scores = -np.sort(-rng.random((queries, 6)), axis=1)
    made = candidates(scores, [[2.0]] * queries, rows=rows, known=np.arange(6)[None, :].repeat(queries, 0) == 0)
    choice = choose_negatives(made, [ScoreRange(maximum=0.5)], count=5)
    others = {"positive_of_near_query": [rows[q, 1:1] if q % 2 else np.array([7]) for q in range(queries)]}
    known = Known([rows[q, :1] for q in range(queries)], [NOTHING] * queries, [np.array([5])] * queries, others)
    return made, choice, known


def test_every_member_has_an_example():
    assert {type(example) for example in EXAMPLES} == set(get_args(get_args(AnyFill)[0]))


@pytest.mark.parametrize("fill", EXAMPLES, ids=lambda fill: fill.kind)
def test_law_a_fill_stands_only_where_a_negative_is_missing(fill: Fill):
    made, choice, known = case()
    rows = fill.rows(made, choice, known, pool=60)
    assert rows.shape == choice.columns.shape
    assert rows.dtype == np.int64
    assert (rows[choice.columns != NONE] == NONE).all()
    np.testing.assert_array_equal(rows, fill.rows(made, choice, known, pool=60))


def test_nothing_is_the_default_of_nothing():
    made, choice, known = case()
    assert (NoFill().rows(made, choice, known, pool=60) == NONE).all()


def test_random_fills_are_no_candidates_and_nothing_known():
    made, choice, known = case()
    rows = RandomFill(seed=1).rows(made, choice, known, pool=60)
    for q, some in enumerate(rows):
        found = some[some != NONE].tolist()
        assert len(found) == (choice.columns[q] == NONE).sum()
        assert len(set(found)) == len(found)
        barred = {*made.rows[q].tolist(), 5, *([7] if q % 2 == 0 else [])}
        assert not barred & set(found)
    assert (rows != NONE).sum() > 60
    assert (rows != RandomFill(seed=2).rows(made, choice, known, pool=60)).any()


def test_random_fills_are_even():
    made, choice, known = case(queries=4000)
    rows = RandomFill(seed=1).rows(made, choice, known, pool=60)
    shares = np.bincount(rows[rows != NONE], minlength=60) / (rows != NONE).sum()
    assert shares[5] == 0
    assert shares[7] < 0.6 * shares[8]
    np.testing.assert_allclose(np.delete(shares, [5, 7]), shares[8], atol=0.004)


def test_random_fills_of_a_query_do_not_depend_on_others():
    made, choice, known = case()
    whole = RandomFill(seed=1).rows(made, choice, known, pool=60)
    part = query_of(made, slice(3, 4))
    own = Known(known.relevant[3:4], known.same_text[3:4], known.same_as_query[3:4])
    alone = choose_negatives(part, [ScoreRange(maximum=0.5)], count=5)
    np.testing.assert_array_equal(RandomFill(seed=1).rows(part, alone, own, pool=60)[0], whole[3])


def test_random_fills_do_not_depend_on_empty_places():
    """A block is as wide as its widest query: the others' rows end in empty places."""
    made, choice, known = case()
    wide = replace(
        made,
        rows=np.pad(made.rows, ((0, 0), (0, 2)), constant_values=NONE),
        scores={name: np.pad(scores, ((0, 0), (0, 2))) for name, scores in made.scores.items()},
        excluded={reason: np.pad(mask, ((0, 0), (0, 2))) for reason, mask in made.excluded.items()},
    )
    fill = RandomFill(seed=1)
    np.testing.assert_array_equal(
        fill.rows(wide, choice, known, pool=10**5), fill.rows(made, choice, known, pool=10**5)
    )


def test_a_small_corpus_leaves_places_empty():
    made = candidates([[0.9, 0.8, 0.7]], [[2.0]])
    choice = choose_negatives(made, [ScoreRange(maximum=0.75)], count=4)
    known = Known([NOTHING], [NOTHING], [NOTHING])
    rows = RandomFill(seed=0).rows(made, choice, known, pool=5)[0]
    assert rows[0] == rows[3] == NONE
    assert sorted(rows[1:3].tolist()) == [3, 4]


def test_repeats_go_round():
    made = candidates([[0.9, 0.5, 0.4], [0.9, 0.8, 0.7]], [[2.0]] * 2, rows=[[11, 12, 13], [14, 15, 16]])
    choice = choose_negatives(made, [ScoreRange(maximum=0.6)], count=5)
    known = Known([NOTHING] * 2, [NOTHING] * 2, [NOTHING] * 2)
    rows = Repeat().rows(made, choice, known, pool=99)
    assert rows.tolist() == [[NONE, NONE, 12, 13, 12], [NONE] * 5]
