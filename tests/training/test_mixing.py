from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.core.errors import DataError
from embedkit.training.mixing import Shares, Sizes, Turns, apportion
from embedkit.training.sources import Source

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


def sources(*groups: str | None) -> list[Source]:
    return [Source(pairs=f"p{i}", group=group) for i, group in enumerate(groups)]


def test_parts_by_size_are_the_papers_formula():
    rows = [1000, 100, 400]
    assert Sizes(power=0.5).parts(sources(None, None, None), rows) == pytest.approx(
        [0.513167, 0.162278, 0.324555], abs=1e-6
    )
    assert Sizes(power=1).parts(sources(None, None, None), rows) == pytest.approx([2 / 3, 1 / 15, 4 / 15])
    assert Sizes(power=0).parts(sources(None, None, None), rows) == pytest.approx([1 / 3] * 3)


def test_a_group_has_its_part_and_the_others_the_rest():
    mixing = Sizes(power=0.5, groups={"retrieval": 0.72})
    mixing.check(sources("retrieval", None, None))
    found = mixing.parts(sources("retrieval", None, None), [1000, 100, 400])
    assert found == pytest.approx([0.72, 0.093333, 0.186667], abs=1e-6)
    two = Sizes(power=1, groups={"a": 0.25, "b": 0.75})
    two.check(sources("a", "b", "b"))
    assert two.parts(sources("a", "b", "b"), [5, 10, 20]) == pytest.approx([0.25, 0.25, 0.5])


def test_shares_are_of_their_sum():
    given = [Source(pairs="p"), Source(pairs="q", share=3)]
    Shares().check(given)
    assert Shares().parts(given, [10, 10]) == [0.25, 0.75]


@pytest.mark.parametrize(
    ("mixing", "given", "message"),
    [
        (Shares(), sources("a"), "has the group 'a', which mixing shares does not look at"),
        (Sizes(), [Source(pairs="p", share=2)], "has a share, but mixing sizes"),
        (Sizes(groups={"a": 0.5}), sources("a", "c"), r"group 'c' has no part of the steps; mixing names \['a'\]"),
        (Sizes(groups={"a": 0.5, "b": 0.1}), sources("a", None), "gives the group 'b' steps, but no source is of it"),
        (Sizes(groups={"a": 1}), sources("a", None), "sum to 1, and 1 sources are of no group"),
        (Sizes(groups={"a": 0.5}), sources("a", "a"), "must sum to 1, found 0.5"),
    ],
)
def test_sources_that_do_not_go_with_the_mixing(mixing, given, message):
    with pytest.raises(ValueError, match=message):
        mixing.check(given)
