import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedkit.mining import ragged
from embedkit.mining.filters import NONE
from embedkit.mining.ragged import Lists, greatest, laid_out, on_grid


@given(st.lists(st.lists(st.integers(0, 20), max_size=5), max_size=8), st.integers(1, 12), st.booleans())
def test_greatest_is_a_loop(lists, at_a_time, leave_out):
    items = np.arange(len(lists), dtype=np.int64) % 4
    but = items * 3 if leave_out else None
    table = np.random.default_rng(0).normal(size=(4, 21)).astype(np.float32)
    made = laid_out([np.array(some, dtype=np.int64) for some in lists])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ragged, "_PAIRS", at_a_time)
        found = greatest(items, made, lambda left, right: table[left, right], but=but)
    for item, some, value in zip(items.tolist(), lists, found.tolist(), strict=True):
        values = [float(table[item, entry]) for entry in some if not (leave_out and entry == item * 3)]
        assert value == max(values) if values else np.isnan(value)


def test_no_more_pairs_than_the_bound_at_a_time(monkeypatch):
    monkeypatch.setattr(ragged, "_PAIRS", 4)
    sizes = []

    def compare(left, right):
        sizes.append(len(left))
        return np.zeros(len(left))

    lists = [np.arange(n) for n in (2, 0, 2, 1, 9, 0, 3)]
    greatest(np.arange(7), laid_out(lists), compare)
    assert sizes == [4, 1, 9, 3]  # a list that is longer than the bound goes alone


def test_lists_may_share_entries():
    shared = Lists(np.array([5, 7]), np.array([0, 1, 0]), np.array([2, 1, 0]))
    assert greatest(np.zeros(3, dtype=np.int64), shared, lambda _, right: right).tolist()[:2] == [7, 7]
    taken = laid_out([np.array([4]), np.array([8, 9])]).take(np.array([1, 1, 0]))
    assert greatest(np.zeros(3, dtype=np.int64), taken, lambda _, right: right).tolist() == [9, 9, 4]


def test_on_grid_leaves_empty_places_nan():
    rows = np.array([[4, NONE, 5], [NONE, NONE, NONE]])
    grid = on_grid(rows, np.array([0, 0]), np.array([0.5, 0.25], dtype=np.float32))
    np.testing.assert_array_equal(grid, [[0.5, np.nan, 0.25], [np.nan] * 3])
