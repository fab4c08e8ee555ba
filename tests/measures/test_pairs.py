import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.core.errors import DataError
from embedkit.measures.pairs import Pairs

rows = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans()), min_size=2, max_size=30
).filter(lambda found: 0 < sum(flag for *_, flag in found) < len(found))


@given(rows)
@settings(max_examples=60)
def test_pairs_are_those_of_queries_with_something_relevant_in_order(found):
    pairs = Pairs.of(*zip(*found, strict=True))
    judged = sorted({q for q, _, flag in found if flag})
    expected = sorted((judged.index(q), -s, flag) for q, s, flag in found if q in judged)
    got = list(zip(pairs.queries.tolist(), (-pairs.scores).tolist(), pairs.relevant.tolist(), strict=True))
    assert sorted(got) == expected
    assert [row[:2] for row in got] == [row[:2] for row in expected]
    assert pairs.count == len(judged)
    assert pairs.without_positives == len({q for q, *_ in found}) - len(judged)


def test_places_start_again_with_every_query():
    pairs = Pairs.of([0, 0, 0, 3, 3], [1, 3, 2, 9, 8], [1, 0, 1, 0, 1])
    assert pairs.scores.tolist() == [3, 2, 1, 9, 8]
    assert pairs.places().tolist() == [0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        (([0, 0], [1.0, 2.0], [True]), "found \\(2,\\), \\(2,\\), \\(1,\\)"),
        (([0, 0], [1.0, np.nan], [True, False]), "finite scores; found nan in row 1"),
        (([0, -1], [1.0, 2.0], [True, False]), "numbered from 0; found -1"),
        (([0, 0], [1.0, 2.0], [True, True]), "found 2 relevant of 2"),
        (([0, 0], [1.0, 2.0], [False, False]), "found 0 relevant of 2"),
    ],
)
def test_what_is_no_set_of_pairs_is_refused(columns, problem):
    with pytest.raises(DataError, match=problem):
        Pairs.of(*columns)
