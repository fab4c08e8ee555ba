import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.core.errors import DataError
from embedkit.training.samplers import Batches, shuffled
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
    assert batches.lacking().tolist() == [size - len(batch) for batch in made if len(batch) < size]


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
    assert batches.lacking().tolist() == [3] * 5
    assert batches.lacking(1, 3).tolist() == [3] * 2
    assert batches.lacking(0, 0).tolist() == []


def test_outside_the_run_is_an_index_error():
    with pytest.raises(IndexError):
        Batches(examples([(0, [0], []), (1, [1], [])]), batch_size=2, steps=3, seed=0)[3]


def test_a_hundred_thousand_rows_are_quick():
    data = examples([(i, [i // 3], []) for i in range(100_000)])
    start = time.process_time()
    assert len(Batches(data, batch_size=256, steps=390, seed=0).lacking()) == 0
    assert time.process_time() - start < 3


def test_what_was_made_is_not_made_again():
    data, asked = examples([(i, [i // 3], []) for i in range(100)]), []

    def order(number):
        asked.append(number)
        return shuffled(100, seed=0)(number)

    batches = Batches(data, batch_size=10, steps=95, seed=0, order=order)
    for step in range(95):
        batches[step], batches[max(0, step - 1)]  # a look back, as for the ids of a batch that went wrong
    assert not len(batches.lacking())
    assert asked == sorted(set(asked))
    batches[0]
    assert asked[-1] == 0
