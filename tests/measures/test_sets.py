"""Pairs of like sets by inverted index, against comparing all pairs."""

import numpy as np
import pytest

from embedkit.core.runs import Sets
from embedkit.measures import sets as module
from embedkit.measures.sets import Containment, SetIndex, nearly_equal


def random_sets(rng: np.random.Generator, n: int, bases: list[np.ndarray]) -> list[set[int]]:
    """Parts of a few sets with some strangers among them; many are alike, some nearly, some are empty."""
    found = []
    for _ in range(n):
        base = bases[rng.integers(len(bases))]
        kept = base[rng.random(len(base)) < rng.choice([0.0, 0.4, 0.85, 0.97, 1.0])]
        found.append({*kept.tolist(), *rng.integers(0, 2**40, rng.integers(0, 3)).tolist()})
    return found


def as_sets(found: list[set[int]]) -> Sets:
    return Sets.of([np.array(sorted(one), dtype=np.uint64) for one in found])


def listed(likeness) -> list[tuple[int, int, float]]:
    rows = zip(likeness.asked.tolist(), likeness.rows.tolist(), likeness.values.tolist(), strict=True)
    return [(a, b, pytest.approx(v)) for a, b, v in rows]


@pytest.fixture(params=[0, 1, 2])
def case(request):
    rng = np.random.default_rng(request.param)
    bases = [rng.integers(0, 2**40, rng.integers(1, 60)) for _ in range(5)]
    return random_sets(rng, 50, bases), random_sets(rng, 40, bases)


@pytest.mark.parametrize("least", [0.1, 0.5, 0.8, 0.9, 1.0])
@pytest.mark.parametrize("postings", [3, 1 << 21])
def test_nearly_equal_sets_are_those_of_all_pairs(case, least, postings, monkeypatch):
    monkeypatch.setattr(module, "_POSTINGS", postings)
    indexed, asked = case
    expected = [
        (i, j, len(a & b) / len(a | b))
        for i, a in enumerate(asked)
        for j, b in enumerate(indexed)
        if a | b and len(a & b) / len(a | b) >= least - 1e-9
    ]
    assert expected
    assert listed(nearly_equal(SetIndex(as_sets(indexed)), as_sets(asked), least)) == expected


@pytest.mark.parametrize("least", [0.1, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("postings", [3, 1 << 21])
def test_sets_inside_others_are_those_of_all_pairs(case, least, postings, monkeypatch):
    monkeypatch.setattr(module, "_POSTINGS", postings)
    indexed, asked = case
    pairs = [(i, j, a, b) for i, a in enumerate(asked) for j, b in enumerate(indexed)]
    inside = [(i, j, len(a & b) / len(b)) for i, j, a, b in pairs if b and len(a & b) / len(b) >= least - 1e-9]
    around = [(i, j, len(a & b) / len(a)) for i, j, a, b in pairs if a and len(a & b) / len(a) >= least - 1e-9]
    index = Containment(as_sets(indexed), least)
    assert inside
    assert around
    assert listed(index.inside(as_sets(asked))) == inside
    assert listed(index.around(as_sets(asked))) == around


def test_nothing_is_like_nothing():
    empty, some = as_sets([]), as_sets([{1, 2}, set()])
    for indexed, asked in ((empty, empty), (empty, some), (some, empty), (as_sets([set()]), as_sets([set()]))):
        assert not listed(nearly_equal(SetIndex(indexed), asked, 0.5))
        assert not listed(Containment(indexed, 0.5).inside(asked))
        assert not listed(Containment(indexed, 0.5).around(asked))


def test_what_most_sets_have_is_not_looked_up():
    """A posting list as long as the index must not be read for every set that is asked for."""
    common, n = list(range(20)), 400
    indexed = as_sets([{*common, *range(1000 + 30 * i, 1030 + 30 * i)} for i in range(n)])
    asked = as_sets([{*common, *range(50_000 + 30 * i, 50_030 + 30 * i)} for i in range(n)])
    index = SetIndex(indexed)
    assert len(index.sharing(asked)[0]) == n * n
    assert not len(index.sharing(index.rarest(asked, 0.9))[0])
