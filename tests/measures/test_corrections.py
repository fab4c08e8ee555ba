from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedkit.core.errors import DataError
from embedkit.measures.corrections import holm


def closed_testing(p: list[float]) -> list[float]:
    """What Holm's method is short for: a hypothesis is rejected if Bonferroni rejects every set that holds it."""
    sets = [rows for size in range(1, len(p) + 1) for rows in combinations(range(len(p)), size)]
    return [max(min(1.0, len(rows) * min(p[j] for j in rows)) for rows in sets if i in rows) for i in range(len(p))]


@given(st.lists(st.sampled_from([0.0001, 0.004, 0.01, 0.01, 0.02, 0.049, 0.3, 0.7, 1.0]), min_size=1, max_size=6))
def test_it_is_the_closed_test_of_bonferroni(p):
    assert holm(p) == pytest.approx(closed_testing(p))


def test_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # as R's p.adjust gives
    assert holm([]) == []
    assert holm([0.6, 0.9]) == [1.0, 1.0]


def test_what_is_no_p_value_is_an_error():
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(DataError, match="from 0 to 1"):
            holm([0.5, wrong])
