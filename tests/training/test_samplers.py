import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.core.errors import DataError
from embedkit.training.samplers import Batches, Turns, apportion
from tests.training.examples import examples

rows = st.lists(
    st.tuples(st.integers(0, 12), st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True), st.just(())),
    min_size=1,
    max_size=30,
)
known = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9)), max_size=6)


@settings(max_examples=60, deadline=None)
@given(rows=rows, known=known, size=st.integers(2, 4), seed=st.integers(0, 5))
def test_no_batch_has_a_query_twice_or_a_positive_known_to_another(rows, known, size, seed):
    queries = 1 + max(q for q, _, _ in rows)
    data = examples(rows, extra=[(q, d) for q, d in known if q < queries])
    if len({q for q, _, _ in rows}) < size:
        with pytest.raises(DataError, match="cannot fill a batch"):
            Batches(data, batch_size=size, steps=1, seed=seed)
        return
    batches = Batches(data, batch_size=size, steps=12, seed=seed)
    made = [batches[step] for step in range(12)]
    assert len(batches) == 12
    for batch in made:
        assert 1 <= len(batch) <= size
        for a in batch:
            for b in batch:
                if a is not b:
                    one, other = data.rows[a.row], data.rows[b.row]
                    assert one.query != other.query
                    assert data.known[other.query].isdisjoint(one.positives)
    assert batches.short() == sum(len(batch) < size for batch in made)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(4, 30), size=st.integers(2, 4), seed=st.integers(0, 5))
def test_without_conflicts_batches_are_full_and_rows_take_turns(n, size, seed):
    batches = Batches(examples([(i, [i], []) for i in range(n)]), batch_size=size, steps=3 * n, seed=seed)
    drawn = Counter()
    for step in range(len(batches)):
        assert len(batches[step]) == size
        drawn.update(draw.row for draw in batches[step])
        assert max(drawn.values()) - min(drawn[i] for i in range(n)) <= 2


def test_nothing_is_lost_between_turns():
    data = examples([(i, [i], []) for i in range(10)])
    batches = Batches(data, batch_size=4, steps=5, seed=0)
    assert sorted(draw.row for step in range(5) for draw in batches[step]) == sorted([*range(10)] * 2)


def test_the_same_seed_gives_the_same_batches_in_any_order_of_asking():
    data = examples([(i, [i // 2], []) for i in range(40)])
    first = Batches(data, batch_size=8, steps=20, seed=3)
    made = [first[step] for step in range(20)]
    again = Batches(data, batch_size=8, steps=20, seed=3)
    assert [again[step] for step in (17, 3, 3, 19)] == [made[step] for step in (17, 3, 3, 19)]
    other = Batches(data, batch_size=8, steps=20, seed=4)
    assert [other[step] for step in range(20)] != made


def test_each_turn_has_an_order_of_its_own():
    batches = Batches(examples([(i, [i], []) for i in range(64)]), batch_size=64, steps=2, seed=0)
    assert [d.row for d in batches[0]] != [d.row for d in batches[1]]
    assert {d.turn for d in batches[1]} == {1}


def test_one_popular_document_makes_small_batches_and_not_an_endless_search():
    batches = Batches(examples([(i, [0], []) for i in range(20)]), batch_size=4, steps=5, seed=0)
    assert [len(batches[step]) for step in range(5)] == [1] * 5
    assert batches.short() == 5


def test_outside_the_run_is_an_index_error():
    with pytest.raises(IndexError):
        Batches(examples([(0, [0], []), (1, [1], [])]), batch_size=2, steps=3, seed=0)[3]


def test_a_hundred_thousand_rows_are_quick():
    data = examples([(i, [i // 3], []) for i in range(100_000)])
    start = time.perf_counter()
    assert Batches(data, batch_size=256, steps=390, seed=0).short() == 0
    assert time.perf_counter() - start < 5


shares = st.lists(st.floats(0.5, 4), min_size=1, max_size=4)


@settings(max_examples=80, deadline=None)
@given(shares=shares, steps=st.integers(30, 200), seed=st.integers(0, 9))
def test_shares_of_the_steps_hold_and_hold_all_along(shares, steps, seed):
    turns = Turns(shares, steps=steps, seed=seed)
    made = [turns[step] for step in range(len(turns))]
    assert len(made) == steps == sum(turns.counts)
    passed = Counter()
    for step, (number, place) in enumerate(made):
        assert place == passed[number]
        passed[number] += 1
        for i, share in enumerate(shares):
            assert abs(passed[i] - share / sum(shares) * (step + 1)) < len(shares) + 1
    for i, share in enumerate(shares):
        assert passed[i] == turns.counts[i]
        assert abs(turns.counts[i] - steps * share / sum(shares)) < 1
    again = Turns(shares, steps=steps, seed=seed)
    assert [again[step] for step in range(steps)] == made


def test_turns_depend_on_the_seed_and_have_no_rhythm():
    made = [tuple(Turns([1, 1], steps=20, seed=seed)[step][0] for step in range(20)) for seed in range(5)]
    assert len(set(made)) == 5
    assert all(order.count(0) == 10 for order in made)
    assert [Turns([3], steps=4, seed=0)[step] for step in range(4)] == [(0, 0), (0, 1), (0, 2), (0, 3)]


def test_a_share_too_small_for_one_step():
    with pytest.raises(DataError, match=r"number 1 .* has a share of 0\.01 in 1\.01, which is no step of 20"):
        Turns([1, 0.01], steps=20, seed=0)


def test_steps_are_apportioned_by_largest_remainder():
    assert apportion([1, 1, 1], 10) == [4, 3, 3]
    assert apportion([0.6, 0.3, 0.1], 5) == [3, 2, 0]
    assert apportion([1], 7) == [7]
