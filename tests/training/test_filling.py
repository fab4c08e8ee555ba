"""Batches, which are made fast, are those that plain loops make."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.training import filling, samplers
from embedkit.training.examples import Examples
from embedkit.training.filling import Conflicts
from embedkit.training.lists import Lists
from embedkit.training.samplers import Batches, Draw, Pass, shuffled
from tests.training.examples import examples


class Loops:
    """What `Filler` does, one row after the other, every waiting draw tried for every batch."""

    def __init__(self, data: Examples, size: int) -> None:
        self.data, self.size = data, size
        self.made, self.batch, self.waiting = [], [], []

    def goes(self, draw: Draw) -> bool:
        row, known = self.data.rows[draw.row], self.data.known
        return all(
            known[row.query].isdisjoint(other.positives) and known[other.query].isdisjoint(row.positives)
            for other in (self.data.rows[d.row] for d in self.batch)
        )

    def feed(self, draws: list[Draw]) -> None:
        for draw in draws:
            if draw.row in {d.row for d in self.waiting}:
                continue
            if self.goes(draw):
                self.batch.append(draw)
                while len(self.batch) == self.size:
                    self.close()
            else:
                self.waiting.append(draw)

    def close(self) -> None:
        self.made.append(self.batch)
        self.batch, tried = [], self.waiting
        self.waiting = []
        for draw in tried:
            if len(self.batch) < self.size and self.goes(draw):
                self.batch.append(draw)
            else:
                self.waiting.append(draw)

    def rest(self) -> list[Draw]:
        rest = self.batch + self.waiting
        self.batch, self.waiting = [], []
        return rest


def loops(data: Examples, size: int, order, steps: int, seed: int) -> list[list[Draw]]:
    made, carried, number, tried = [], [], 0, 0
    while len(made) < steps:
        rows, groups, turn = order(number)
        filler = Loops(data, size)
        draws = carried + [Draw(row, number if turn is None else turn) for row in rows.tolist()]
        if groups is not None:
            left = []
            for group in np.unique(groups):
                filler.feed([draw for draw in draws if groups[draw.row] == group])
                left += filler.rest()
            draws = left
        filler.feed(draws)
        tried += len(rows)
        if not filler.made and tried >= len(data.rows):
            largest = len(filler.batch)
            while filler.batch and len(filler.batch) >= largest:
                filler.close()
        if filler.made:
            tried = 0
        carried = filler.rest()
        if groups is not None:
            places = np.random.default_rng([seed, number, 1]).permutation(len(filler.made))
            filler.made = [filler.made[i] for i in places]
        made += filler.made
        number += 1
    return made[:steps]


queries = st.integers(0, 12)
rows = st.lists(
    st.tuples(queries, st.lists(st.integers(0, 11), min_size=1, max_size=3, unique=True), st.just(())),
    min_size=1,
    max_size=40,
)
known = st.lists(st.tuples(queries, st.integers(0, 11)), max_size=8)


def grouped(data: Examples, seed: int, parts: int):
    """Groups that change from pass to pass, and passes in `parts`."""

    def order(number: int) -> Pass:
        turn, part = divmod(number, parts)
        whole = np.random.default_rng([seed, turn]).permutation(len(data.rows))
        groups = np.random.default_rng([seed, turn, 7]).integers(0, 3, len(data.rows))
        return Pass(np.array_split(whole, parts)[part], groups, turn)

    return order


@settings(max_examples=150, deadline=None)
@given(rows=rows, known=known, size=st.integers(2, 5), seed=st.integers(0, 5), kind=st.sampled_from(["plain", 1, 2]))
def test_batches_are_those_of_plain_loops(rows, known, size, seed, kind):
    count = 1 + max(query for query, _, _ in rows)
    data = examples(rows, extra=[(q, d) for q, d in known if q < count])
    if len({query for query, _, _ in rows}) < size or (kind == 2 and len(rows) < 2):
        return
    order = shuffled(len(data.rows), seed=seed) if kind == "plain" else grouped(data, seed, kind)
    batches = Batches(data, batch_size=size, steps=25, seed=seed, order=order)
    expected = loops(data, size, order, 25, seed)
    assert [batches[step] for step in range(25)] == expected
    assert batches.lacking().tolist() == [size - len(batch) for batch in expected if len(batch) < size]
    again = Batches(data, batch_size=size, steps=25, seed=seed, order=order)
    places = np.random.default_rng(seed).permutation(25).tolist()
    assert [again[step] for step in places] == [expected[step] for step in places]
    assert again.lacking().tolist() == batches.lacking().tolist()


@pytest.mark.parametrize("rows", [1, 7, 40])
def test_batches_do_not_depend_on_how_many_rows_are_looked_at_at_a_time(rows, monkeypatch):
    data = examples([(i, [i * 7 % 50], []) for i in range(100)])
    whole = Batches(data, batch_size=6, steps=80, seed=1)
    expected = [whole[step] for step in range(80)]
    assert not len(whole.lacking())
    monkeypatch.setattr(samplers, "_AT_A_TIME", rows)
    parts = Batches(data, batch_size=6, steps=80, seed=1)
    assert [parts[step] for step in range(80)] == expected
    assert [parts[step] for step in (40, 3, 79, 0)] == [expected[step] for step in (40, 3, 79, 0)]


def test_rows_that_share_nothing_are_told_from_the_others():
    data = examples([(0, [0], []), (1, [1], []), (2, [2], []), (3, [3], []), (3, [4], [])], extra=[(1, 2)])
    assert Conflicts(data).possible.tolist() == [False, True, True, True, True]


def test_a_row_without_conflicts_is_not_twice_in_the_batch_between_two_passes():
    data = examples([(i, [i], []) for i in range(5)])
    batches = Batches(data, batch_size=4, steps=40, seed=0)
    for step in range(40):
        assert len({draw.row for draw in batches[step]}) == 4


@pytest.mark.parametrize("labels", [10, 100])
def test_many_rows_of_few_documents_take_no_longer(labels):
    """As where classes are documents: with fewer of them than a batch has rows, none is full, and each is as large as
    it can be."""
    n = 20_000
    data = examples([(i, [i % labels], []) for i in range(n)])
    batches = Batches(data, batch_size=32, steps=n // 32, seed=0)
    sizes = {len(batches[step]) for step in range(len(batches))}
    assert sizes == {min(labels, 32)}


def test_a_batch_is_of_one_group_until_groups_run_out():
    data = examples([(i, [i], []) for i in range(103)])
    groups = np.arange(103) % 3
    batches = Batches(data, batch_size=8, steps=12, seed=0, order=lambda turn: Pass(np.arange(103), groups))
    mixed = [len({groups[draw.row] for draw in batches[step]}) > 1 for step in range(12)]
    assert sum(mixed) == 0  # 35, 34 and 34 rows: four full batches of each; 7 rows wait
    assert len({draw.row for step in range(12) for draw in batches[step]}) == 96


def test_an_order_of_other_rows_is_a_mistake():
    data = examples([(i, [i], []) for i in range(4)])
    for there in (Pass(np.arange(5)), Pass(np.arange(0)), Pass(np.arange(4), np.arange(3))):
        with pytest.raises(ValueError, match=f"pass 0 has {len(there.rows)} rows of 4"):
            Batches(data, batch_size=2, steps=1, seed=0, order=lambda turn, there=there: there)[0]


@pytest.mark.parametrize("entries", [1, 7, 1 << 18])
def test_of_queries_with_many_documents_few_are_looked_at_together(entries, monkeypatch):
    monkeypatch.setattr(filling, "_ENTRIES", entries)
    found, asked = Conflicts(examples([(i % 3, [i], []) for i in range(12)])), np.array([4, 0, 11, 4, 7])
    taken = []
    take = Lists.take
    monkeypatch.setattr(Lists, "take", lambda lists, rows: taken.append(len(rows)) or take(lists, rows))
    assert list(found.documents(asked)) == [found.of(row) for row in asked.tolist()]
    assert max(taken) == (5 if entries > 20 else 1 if entries == 1 else 2)
    assert list(found.documents(asked[:0])) == []
