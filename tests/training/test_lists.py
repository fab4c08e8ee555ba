import numpy as np
import pytest

from embedkit.training.lists import Lists, Sets, Sparse, number_type

LISTS = [[3, 1, 3], [], [2], [], [0, 2]]


def found(lists: Lists) -> list[list[int]]:
    return [lists[i].tolist() for i in range(len(lists))]


def test_lists_come_back_as_they_were():
    lists = Lists.of(LISTS)
    assert found(lists) == LISTS
    assert lists.lengths.tolist() == [3, 0, 1, 0, 2]
    assert lists.filled.tolist() == [True, False, True, False, True]
    assert lists.owners.tolist() == [0, 0, 0, 2, 4, 4]
    assert lists.depths.tolist() == [0, 1, 2, 0, 0, 1]
    assert list(lists.python()) == LISTS
    assert found(Lists.of([])) == list(Lists.of([]).python()) == []
    assert lists.set(0) == {1, 3}


def test_some_lists_some_entries_and_several_parts():
    lists = Lists.of(LISTS)
    assert found(lists.take(np.array([4, 1, 0, 0]))) == [LISTS[4], LISTS[1], LISTS[0], LISTS[0]]
    assert found(lists.take(np.array([], dtype=np.int64))) == []
    assert found(lists.kept(lists.values != 3)) == [[1], [], [2], [], [0, 2]]
    assert found(Lists.joined([lists, Lists.of([[7]]), lists])) == [*LISTS, [7], *LISTS]
    assert found(lists.kept(lists.first(4))) == [[3, 1], [], [2], [], [0, 2]]


def test_keys_stand_for_entries():
    ascending = Lists.of([[1, 3], [], [2]])
    keys = ascending.keys(5)
    assert keys.tolist() == [1, 3, 12]
    assert found(Lists.of_keys(keys, lists=3, width=5)) == [[1, 3], [], [2]]
    assert ascending.keys(5, np.array([7, 7, 0], dtype=np.int32)).tolist() == [36, 38, 2]
    assert ascending.has(np.array([0, 1, 3, 6, 12, 14]), 5).tolist() == [False, True, True, False, True, False]
    assert Lists.of([[], []]).has(np.array([0, 6]), 5).tolist() == [False, False]


def test_views_look_like_lists_and_mappings_of_values():
    lists = Lists.of(LISTS)
    sets = Sets(lists)
    assert list(sets) == [frozenset(some) for some in LISTS]
    assert sets[-1] == {0, 2}
    assert sets[1:3] == [frozenset(), {2}]
    assert sets.pairs(np.array([4, 1, 2])).tolist() == [[0, 0], [0, 2], [2, 2]]
    sparse = Sparse(lists.filled, lists.set)
    assert sparse == {0: {1, 3}, 2: {2}, 4: {0, 2}}
    assert len(sparse) == 3
    assert sparse.get(1, "nothing") == "nothing"
    for missing in (1, -1, 5):
        with pytest.raises(KeyError):
            sparse[missing]


def test_numbers_are_small_where_they_can_be():
    assert number_type(10) is np.int32
    assert number_type(2**31 + 1) is np.int64
