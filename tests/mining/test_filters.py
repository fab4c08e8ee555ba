import copy
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from embedkit.core.errors import DataError
from embedkit.mining.filters import (
    AnyFilter,
    Candidates,
    Filter,
    MarginToPositive,
    PercentOfPositive,
    RankWindow,
    ScoreRange,
)
from tests.mining.cases import candidates, random_candidates
from tests.oracles import percent_of_positive_by_hand

MEMBERS = get_args(get_args(AnyFilter)[0])
EXAMPLES = (
    PercentOfPositive(ratio=0.9),
    MarginToPositive(margin=0.1),
    RankWindow(first=2, last=5),
    ScoreRange(minimum=-0.5, maximum=0.5),
)
scores = st.lists(st.floats(-1, 1, width=32) | st.just(float("nan")), min_size=1, max_size=6)
positives = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=3)
ratios = st.floats(0.01, 1)


def test_every_member_has_an_example():
    assert {type(example) for example in EXAMPLES} == set(MEMBERS)
    assert len(MEMBERS) >= 4


@pytest.mark.parametrize("rule", EXAMPLES, ids=lambda rule: rule.kind)
@pytest.mark.parametrize("seed", range(5))
def test_law_a_filter_is_a_pure_mask(rule: Filter, seed: int):
    given_ = random_candidates(seed)
    before = copy.deepcopy(given_)
    mask = rule(given_)
    assert mask.shape == given_.rows.shape
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, rule(before))
    np.testing.assert_array_equal(given_.scores["encoder"], before.scores["encoder"])
    assert 0 < mask.sum() < mask.size  # the example is no trivial one


@pytest.mark.parametrize("rule", EXAMPLES, ids=lambda rule: rule.kind)
@pytest.mark.parametrize("seed", range(5))
def test_law_suspects_are_dropped(rule: Filter, seed: int):
    made = random_candidates(seed)
    suspects = rule.suspects(made)
    assert suspects.shape == made.rows.shape
    assert not (suspects & rule(made)).any()
    assert suspects.any() == (rule.kind != "rank_window")


def test_what_is_too_easy_is_no_suspect():
    made = candidates([[0.9, 0.5, 0.1, float("nan")]], [[0.8]])
    assert ScoreRange(minimum=0.2, maximum=0.6).suspects(made).tolist() == [[True, False, False, True]]
    assert not ScoreRange(minimum=0.2).suspects(made).any()
    assert PercentOfPositive(ratio=0.6).suspects(made).tolist() == [[True, True, False, True]]


@pytest.mark.parametrize("rule", EXAMPLES, ids=lambda rule: rule.kind)
def test_law_a_query_is_filtered_by_itself(rule: Filter):
    whole = random_candidates(3)
    for q in range(len(whole.query_ids)):
        alone = Candidates(
            query_ids=whole.query_ids[q : q + 1],
            rows=whole.rows[q : q + 1],
            scores={"encoder": whole.scores["encoder"][q : q + 1]},
            positives={"encoder": whole.positives["encoder"][q : q + 1]},
            excluded={"known_positive": whole.excluded["known_positive"][q : q + 1]},
        )
        np.testing.assert_array_equal(rule(alone)[0], rule(whole)[q])


@pytest.mark.parametrize("rule", [e for e in EXAMPLES if e.signals], ids=lambda rule: rule.kind)
def test_law_an_unscored_candidate_is_dropped(rule: Filter):
    assert not rule(candidates([[np.nan, np.nan]], [[0.9]])).any()


@given(scores, positives, ratios)
def test_percent_of_positive_is_its_formula(found, own, ratio):
    expected = percent_of_positive_by_hand([float(np.float32(s)) for s in found], own, ratio)
    mask = PercentOfPositive(ratio=ratio)(candidates([found], [own]))[0]
    lowest = min(own)
    threshold = lowest - (1 - ratio) * abs(lowest)
    for kept, wanted, score in zip(mask, expected, found, strict=True):
        assert kept == wanted or abs(score - threshold) < 1e-9


@given(scores, positives, ratios)
def test_percent_of_positive_keeps_nothing_above_the_positive(found, own, ratio):
    mask = PercentOfPositive(ratio=ratio)(candidates([found], [own]))[0]
    assert all(score <= min(own) for score, kept in zip(found, mask, strict=True) if kept)


@given(scores, positives, ratios, ratios)
def test_percent_of_positive_is_monotone_in_its_ratio(found, own, one, other):
    low, high = sorted((one, other))
    strict = PercentOfPositive(ratio=low)(candidates([found], [own]))
    loose = PercentOfPositive(ratio=high)(candidates([found], [own]))
    assert not (strict & ~loose).any()


def test_percent_of_positive_on_the_published_example():
    kept = PercentOfPositive(ratio=0.95)(candidates([[0.79, 0.75, 0.70, 0.50]], [[0.80]]))
    assert kept.tolist() == [[False, True, True, True]]


def test_a_negative_positive_gives_a_threshold_below_it():
    # 0.95 * -0.4 = -0.38 would keep candidates that score better than the positive
    kept = PercentOfPositive(ratio=0.95)(candidates([[-0.39, -0.41, -0.43]], [[-0.4]]))
    assert kept.tolist() == [[False, False, True]]


def test_margin_to_positive():
    kept = MarginToPositive(margin=0.08)(candidates([[0.79, 0.73, 0.70], [-5.0, -9.1, np.nan]], [[0.8], [-9.0]]))
    assert kept.tolist() == [[False, False, True], [False, True, False]]


@pytest.mark.parametrize(
    ("reference", "kept"),
    [
        ("min", [False, False, False]),
        ("max", [True, True, True]),
        ("mean", [False, True, True]),
        ("own", [False, False, True]),
    ],
)
def test_the_positive_reference_is_an_option(reference, kept):
    given_ = candidates([[0.85, 0.6, 0.5]], [[0.55, 0.9, 0.4]])
    mask = PercentOfPositive(ratio=0.99, reference=reference)(given_)
    assert mask.tolist() == [kept]


def test_a_query_without_positives_keeps_nothing():
    given_ = candidates([[0.5, -0.5]], [[]])
    for rule in (PercentOfPositive(), MarginToPositive()):
        assert not rule(given_).any()


def test_ranks_count_only_what_may_be_a_negative():
    given_ = candidates([[0.9, 0.8, 0.7, 0.6, 0.5]], [[0.9]], known=[[True, False, True, False, False]])
    assert given_.ranks.tolist() == [[0, 1, 0, 2, 3]]
    assert RankWindow(first=2, last=2)(given_).tolist() == [[False, False, False, True, False]]


def test_score_range_is_open_where_not_set():
    given_ = candidates([[0.9, 0.5, 0.1]], [[0.9]])
    assert ScoreRange(maximum=0.5)(given_).tolist() == [[False, True, True]]
    assert ScoreRange(minimum=0.5)(given_).tolist() == [[True, True, False]]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"kind": "rank_window", "first": 5, "last": 4}, "no rank lies between"),
        ({"kind": "score_range", "minimum": 0.5, "maximum": 0.4}, "no score lies between"),
        ({"kind": "percent_of_positive", "ratio": 1.5}, "less than or equal to 1"),
        ({"kind": "percent_of_positiv"}, "does not match any of the expected tags"),
        ({"kind": "margin_to_positive", "margin": -0.1}, "greater than or equal to 0"),
    ],
)
def test_bad_filters_are_refused(spec, message):
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(AnyFilter).validate_python(spec)


def test_an_unknown_signal_names_those_there_are():
    with pytest.raises(
        DataError, match=r"'encodr': nothing scored it; there are \['encoder'\]; did you mean 'encoder'"
    ):
        PercentOfPositive(signal="encodr")(candidates([[0.1]], [[0.2]]))


def test_shapes_that_disagree_are_refused():
    with pytest.raises(
        DataError, match=r"positives of encoder have shape \(2, 1\); \(queries, candidates\) is \(1, 1\)"
    ):
        candidates([[0.1]], [[0.2], [0.3]])
