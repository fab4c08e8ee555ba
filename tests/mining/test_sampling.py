from collections import Counter
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from embedkit.mining.filters import NONE
from embedkit.mining.lots import draw_lots, query_generator
from embedkit.mining.sampling import AnySampling, Cyclical, MarginBins, Random, Sampling, Stratified, Top
from tests.mining.cases import candidates, query_of, random_candidates

MEMBERS = get_args(get_args(AnySampling)[0])
EXAMPLES = (
    Top(),
    Random(seed=3),
    Stratified(seed=3),
    Stratified(seed=3, signal="judged"),
    Cyclical(stride=3),
    MarginBins(seed=3, bins=4),
    MarginBins(seed=3, signal="judged"),
)
all_members = pytest.mark.parametrize("sampling", EXAMPLES, ids=lambda s: f"{s.kind}-{''.join(s.signals)}")


def passing_of(made):
    return made.eligible & ~np.isnan(made.scores["encoder"]) & ~np.isnan(made.scores["judged"])


def test_every_member_has_an_example():
    assert {type(example) for example in EXAMPLES} == set(MEMBERS)
    assert len(MEMBERS) == 5


@all_members
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("count", [1, 3, 20])
def test_law_as_many_as_wanted_of_those_that_pass(sampling: Sampling, seed: int, count: int):
    made = random_candidates(seed)
    passing = passing_of(made)
    before = passing.copy()
    chosen = sampling.choose(made, passing, count)
    np.testing.assert_array_equal(passing, before)
    assert chosen.shape == passing.shape
    assert chosen.dtype == np.bool_
    assert not (chosen & ~passing).any()
    assert chosen.sum(axis=1).tolist() == np.minimum(passing.sum(axis=1), count).tolist()
    np.testing.assert_array_equal(chosen, sampling.choose(made, passing, count))


@all_members
def test_law_a_query_is_sampled_by_itself_whatever_stands_behind(sampling: Sampling):
    whole = random_candidates(4)
    passing = passing_of(whole)
    chosen = sampling.choose(whole, passing, 3)
    for q in range(len(whole.query_ids)):
        alone = query_of(whole, slice(q, q + 1))
        np.testing.assert_array_equal(sampling.choose(alone, passing[q : q + 1], 3)[0], chosen[q])
    wider = replace(
        whole,
        rows=np.pad(whole.rows, ((0, 0), (0, 5)), constant_values=NONE),
        scores={name: np.pad(s, ((0, 0), (0, 5)), constant_values=np.nan) for name, s in whole.scores.items()},
        excluded={name: np.pad(m, ((0, 0), (0, 5))) for name, m in whole.excluded.items()},
    )
    more = sampling.choose(wider, np.pad(passing, ((0, 0), (0, 5))), 3)
    np.testing.assert_array_equal(more[:, :-5], chosen)


@all_members
def test_law_nothing_is_chosen_of_nothing(sampling: Sampling):
    made = random_candidates(0)
    assert not sampling.choose(made, np.zeros(made.rows.shape, dtype=bool), 3).any()
    none = query_of(made, slice(0, 0))
    assert sampling.choose(none, none.eligible, 3).shape == none.rows.shape
    narrow = candidates(np.zeros((2, 0)), [[1.0]] * 2)
    narrow = replace(narrow, scores={**narrow.scores, "judged": np.zeros((2, 0))})
    assert sampling.choose(narrow, narrow.eligible, 3).shape == (2, 0)


@pytest.mark.parametrize("sampling", [e for e in EXAMPLES if hasattr(e, "seed")], ids=lambda s: s.kind)
def test_law_another_seed_is_another_choice(sampling: Sampling):
    made = random_candidates(5, queries=30)
    other = sampling.model_copy(update={"seed": 4})
    assert (sampling.choose(made, passing_of(made), 3) != other.choose(made, passing_of(made), 3)).any()


def test_random_does_not_shift_when_another_document_goes():
    made = candidates(np.zeros((1, 30)), [[1.0]])
    chosen = Random(seed=0).choose(made, made.eligible, 5)[0]
    fewer = made.eligible.copy()
    fewer[0, np.flatnonzero(~chosen)[0]] = False
    np.testing.assert_array_equal(Random(seed=0).choose(made, fewer, 5)[0], chosen)


@given(st.integers(0, 200), st.integers(1, 6))
def test_each_stratum_gives_one(seed, count):
    made = random_candidates(seed)
    passing = passing_of(made)
    chosen = Stratified(seed=1).choose(made, passing, count)
    for q in range(len(passing)):
        columns = np.flatnonzero(passing[q]).tolist()  # best first
        if len(columns) <= count:
            assert np.flatnonzero(chosen[q]).tolist() == columns
            continue
        strata: dict[int, list[int]] = {}
        for place, column in enumerate(columns):
            strata.setdefault(place * count // len(columns), []).append(column)
        assert len(strata) == count
        assert [int(chosen[q, some].sum()) for some in strata.values()] == [1] * count


def test_strata_are_even():
    made = candidates(np.linspace(1, 0, 6)[None].repeat(3000, 0), [[1.0]] * 3000)
    shares = Stratified(seed=0).choose(made, made.eligible, 2).mean(axis=0)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.05)


def cyclical_by_hand(count_of: int, stride: int, count: int) -> list[int]:
    order = [place for first in range(stride) for place in range(first, count_of, stride)]
    return sorted(order[:count])


@given(st.integers(0, 12), st.integers(1, 7), st.integers(1, 9))
def test_cyclical_goes_round(there, stride, count):
    made = candidates(np.linspace(1, 0, 12)[None], [[1.0]])
    passing = np.zeros((1, 12), dtype=bool)
    places = np.random.default_rng(there).permutation(12)[:there]
    passing[0, places] = True
    chosen = np.flatnonzero(Cyclical(stride=stride).choose(made, passing, count)[0])
    expected = np.flatnonzero(passing[0])[cyclical_by_hand(there, stride, count)]
    assert chosen.tolist() == expected.tolist()


def test_cyclical_of_fifty_by_five():
    made = candidates(np.linspace(1, 0, 20)[None], [[1.0]])
    chosen = Cyclical().choose(made, made.eligible, 6)[0]
    assert np.flatnonzero(chosen).tolist() == [0, 1, 5, 6, 10, 15]


def test_margin_bins_are_as_likely_whatever_is_in_them():
    # one candidate in the first bin, one in the last, eight in the middle, two bins empty
    scores = [0.9, *np.linspace(0.51, 0.49, 8), 0.1]
    made = candidates([scores] * 4000, [[1.0]] * 4000)
    chosen = MarginBins(seed=0, bins=5).choose(made, made.eligible, 1)
    shares = chosen.mean(axis=0)
    np.testing.assert_allclose([shares[0], shares[1:9].sum(), shares[9]], 1 / 3, atol=0.03)
    np.testing.assert_allclose(shares[1:9], 1 / 24, atol=0.02)


def test_a_bin_that_is_empty_by_now_is_drawn_again():
    made = candidates([[0.9, 0.5, 0.49, 0.1]] * 4000, [[1.0]] * 4000)
    chosen = MarginBins(seed=0, bins=3).choose(made, made.eligible, 3)
    assert chosen.sum(axis=1).tolist() == [3] * 4000
    left_out = Counter(np.argmin(chosen, axis=1).tolist())
    # by hand: of the draws of three bins, 2 + 2 of 3! orders and so on; the two middle ones are alike
    assert abs(left_out[1] - left_out[2]) < 200
    assert left_out[0] < left_out[1]


def test_margin_bins_leave_what_is_not_scored():
    made = candidates([[0.9, np.nan, 0.1]], [[1.0]])
    assert MarginBins(seed=0).choose(made, made.eligible, 3).tolist() == [[True, False, True]]
    same = candidates([[0.5, 0.5, 0.5]], [[1.0]])
    assert MarginBins(seed=0).choose(same, same.eligible, 2).sum() == 2


def test_lots_are_even_and_of_query_and_number_alone():
    numbers = np.tile(np.arange(50), (200, 1))
    ids = [f"q{i}" for i in range(200)]
    lots = draw_lots(7, ids, numbers)
    assert 0 <= lots.min() < 0.001
    assert 0.999 < lots.max() < 1
    np.testing.assert_allclose(np.histogram(lots, bins=10, range=(0, 1))[0] / lots.size, 0.1, atol=0.012)
    assert abs(np.corrcoef(lots[:, :-1].ravel(), lots[:, 1:].ravel())[0, 1]) < 0.03
    assert abs(np.corrcoef(lots[:-1].ravel(), lots[1:].ravel())[0, 1]) < 0.03
    assert len(np.unique(lots)) == lots.size
    np.testing.assert_array_equal(draw_lots(7, ids[5:6], numbers[:1, ::-1])[0], lots[5, ::-1])
    assert query_generator(1, "a").random() != query_generator(2, "a").random() != query_generator(1, "b").random()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"kind": "random"}, "seed"),
        ({"kind": "cyclical", "stride": 0}, "greater than 0"),
        ({"kind": "margin_bins", "seed": 1, "bins": 0}, "greater than 0"),
        ({"kind": "cyclic"}, "does not match any of the expected tags"),
    ],
)
def test_bad_samplings_are_refused(spec, message):
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(AnySampling).validate_python(spec)
