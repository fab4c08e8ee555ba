import copy
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from embedkit.core.errors import DataError
from embedkit.mining.filters import (
    NONE,
    Agreement,
    AnyFilter,
    Filter,
    Judge,
    MarginToPositive,
    NearDuplicate,
    Owners,
    PercentOfPositive,
    RankWindow,
    SaHa,
    SameGroup,
    ScoreRange,
    Vote,
)
from tests.mining.cases import candidates, query_of, random_candidates, signalled
from tests.oracles import agreement_by_hand, percent_of_positive_by_hand

MEMBERS = get_args(get_args(AnyFilter)[0])
EXAMPLES = (
    Agreement(of=("encoder", "judged"), threshold=0.3),
    PercentOfPositive(ratio=0.9),
    MarginToPositive(margin=0.1),
    Judge(signal="judged"),
    RankWindow(first=2, last=5),
    ScoreRange(minimum=-0.5, maximum=0.5),
    NearDuplicate(threshold=0.6),
    SameGroup(),
    Owners(maximum=0.5),
    SaHa(pool=8, keep=3),
    Vote(votes=2, filters=(PercentOfPositive(), Judge(signal="judged"), NearDuplicate(threshold=0.5))),
)
STRUCTURE = (NearDuplicate, SameGroup, Owners, SaHa)  # where nothing was there to compare with, these keep
scores = st.lists(st.floats(-1, 1, width=32) | st.just(float("nan")), min_size=1, max_size=6)
positives = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=3)
ratios = st.floats(0.01, 1)


def test_every_member_has_an_example():
    assert {type(example) for example in EXAMPLES} == set(MEMBERS)
    assert len(MEMBERS) >= 11


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


@pytest.mark.parametrize("rule", EXAMPLES, ids=lambda rule: rule.kind)
@pytest.mark.parametrize("seed", range(5))
def test_law_a_verdict_is_a_reason(rule: Filter, seed: int):
    made = random_candidates(seed)
    verdicts = rule.verdicts(made)
    np.testing.assert_array_equal(verdicts == 0, rule(made))
    assert verdicts.max() <= len(rule.reasons) == len(set(rule.reasons))


@pytest.mark.parametrize("rule", EXAMPLES, ids=lambda rule: rule.kind)
def test_law_empty_places_behind_change_nothing(rule: Filter):
    made = random_candidates(1)

    def wider(array, fill):
        return np.pad(array, ((0, 0), (0, 7)), constant_values=fill)

    more = replace(
        made,
        rows=wider(made.rows, NONE),
        scores={name: wider(scores, np.nan) for name, scores in made.scores.items()},
        excluded={reason: wider(mask, False) for reason, mask in made.excluded.items()},
    )
    width, there = made.rows.shape[1], made.rows != NONE
    np.testing.assert_array_equal(rule(more)[:, :width] & there, rule(made) & there)


@pytest.mark.parametrize("rule", EXAMPLES, ids=lambda rule: rule.kind)
def test_law_no_queries_and_no_candidates_are_fine(rule: Filter):
    made = random_candidates(0)
    none = query_of(made, slice(0, 0))
    narrow = replace(
        made,
        rows=made.rows[:, :0],
        scores={name: scores[:, :0] for name, scores in made.scores.items()},
        excluded={reason: mask[:, :0] for reason, mask in made.excluded.items()},
    )
    for given_ in (none, narrow):
        assert rule(given_).shape == rule.suspects(given_).shape == given_.rows.shape


def test_what_is_too_easy_is_no_suspect():
    made = candidates([[0.9, 0.5, 0.1, float("nan")]], [[0.8]])
    assert ScoreRange(minimum=0.2, maximum=0.6).suspects(made).tolist() == [[True, False, False, True]]
    assert not ScoreRange(minimum=0.2).suspects(made).any()
    assert PercentOfPositive(ratio=0.6).suspects(made).tolist() == [[True, True, False, True]]


@pytest.mark.parametrize("rule", EXAMPLES, ids=lambda rule: rule.kind)
def test_law_a_query_is_filtered_by_itself(rule: Filter):
    whole = random_candidates(3)
    for q in range(len(whole.query_ids)):
        alone = query_of(whole, slice(q, q + 1))
        np.testing.assert_array_equal(rule(alone)[0], rule(whole)[q])


@pytest.mark.parametrize("rule", [e for e in EXAMPLES if e.signals], ids=lambda rule: rule.kind)
def test_law_an_unscored_candidate_is_dropped_or_there_was_nothing_to_compare_with(rule: Filter):
    nan = [[np.nan, np.nan]]
    made = signalled([[0.5, 0.4]], [[0.9]], **{name: (nan, [[0.9]]) for name in rule.signals})
    assert rule(made).tolist() == [[isinstance(rule, STRUCTURE)] * 2]
    assert not (isinstance(rule, STRUCTURE) and rule.suspects(made).any())


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


def test_references_are_those_of_each_list():
    made = candidates([[0.0]] * 4, [[0.3, 0.9, 0.1], [], [0.5], [np.nan, 0.2]])
    for how, expected in {"own": 0.3, "min": 0.1, "max": 0.9, "mean": (0.3 + 0.9 + 0.1) / 3}.items():
        found = made.reference("encoder", how)
        np.testing.assert_allclose(found[:3], [expected, np.nan, 0.5], rtol=1e-6)
        assert np.isnan(found[3])
    assert np.isnan(candidates([[0.0]], [[]]).reference("encoder", "min")).all()


def test_judge_on_the_published_scale():
    # logits 2 and 0: 0.880797 against 0.5; alpha = 0.880797 - 0.01
    logits = [[2.0, 1.91, 1.90, 0.0, np.nan]]
    made = signalled([[0.5] * 5], [[0.9]], judged=(logits, [[2.0]]))
    assert Judge(signal="judged").__call__(made).tolist() == [[False, False, True, True, False]]
    shares = signalled([[0.5] * 3], [[0.9]], judged=([[0.96, 0.90, 0.88]], [[0.9]]))
    assert Judge(signal="judged", sigmoid=False)(shares).tolist() == [[False, False, True]]
    far = signalled([[0.5] * 2], [[0.9]], judged=([[900.0, -900.0]], [[-900.0]]))  # no overflow, nothing below it
    assert Judge(signal="judged")(far).tolist() == [[False, False]]


@given(st.integers(0, 1000), st.floats(-1, 2))
def test_agreement_is_its_formula(seed, threshold):
    made = random_candidates(seed)
    mask = Agreement(of=("encoder", "judged", "owner_similarity"), threshold=threshold)(made)
    names = ("encoder", "judged", "owner_similarity")
    for q, eligible in enumerate(made.eligible):
        columns = np.flatnonzero(eligible)
        fused = agreement_by_hand([made.scores[name][q, columns].tolist() for name in names])
        for column, value in zip(columns, fused, strict=True):
            assert mask[q, column] == (value <= threshold) or abs(value - threshold) < 1e-9


def test_a_signal_that_does_not_vary_says_nothing():
    made = signalled([[0.9, 0.5, 0.1]], [[0.9]], flat=([[0.3] * 3], [[0.3]]))
    both, alone = Agreement(of=("encoder", "flat"), threshold=0.5), Agreement(of=("encoder",), threshold=1.0)
    assert both(made).tolist() == alone(made).tolist() == [[False, True, True]]


def test_what_is_known_does_not_shift_the_agreement():
    scores = [[0.99, 0.5, 0.4, 0.3]]
    known = candidates(scores, [[0.99]], known=[[True, False, False, False]])
    assert Agreement(of=("encoder",), threshold=1.0)(known).tolist() == [[False, False, True, True]]
    assert Agreement(of=("encoder",), threshold=1.0)(candidates(scores, [[1]])).tolist() == [[False, True, True, True]]


def test_near_duplicates_are_those_at_the_threshold_and_above():
    made = signalled([[0.9] * 4], [[0.9]], positive_similarity=([[0.96, 0.95, 0.94, np.nan]], [[np.nan]]))
    rule = NearDuplicate(threshold=0.95)
    assert rule(made).tolist() == [[False, False, True, True]]
    assert rule.suspects(made).tolist() == [[True, True, False, False]]


def test_same_group():
    made = signalled([[0.9] * 3], [[0.9]], same_group=([[1.0, 0.0, np.nan]], [[0.0]]))
    assert SameGroup()(made).tolist() == [[False, True, True]]


def test_owners():
    made = signalled([[0.9] * 3], [[0.9]], owner_similarity=([[0.9, 0.8, np.nan]], [[np.nan]]))
    assert Owners(maximum=0.8)(made).tolist() == [[False, True, True]]
    assert Owners(maximum=0.8, unowned="drop")(made).tolist() == [[False, True, False]]
    assert Owners(maximum=0.8, unowned="drop").suspects(made).tolist() == [[True, False, False]]


@pytest.mark.parametrize("unowned", ["keep", "drop"])
@pytest.mark.parametrize("seed", range(6))
def test_saha_is_a_sort_of_the_pool(unowned, seed):
    made = random_candidates(seed)
    kept, suspects = SaHa(pool=6, keep=2, unowned=unowned)(made), SaHa(pool=6, keep=2).suspects(made)
    for q, similarity in enumerate(made.scores["owner_similarity"]):
        pool = np.flatnonzero(made.eligible[q])[:6].tolist()
        owned = sorted((float(similarity[c]), c) for c in pool if not np.isnan(similarity[c]))
        expected = {c for _, c in owned[:2]} | {c for c in pool if unowned == "keep" and np.isnan(similarity[c])}
        assert set(np.flatnonzero(kept[q]).tolist()) == expected
        assert set(np.flatnonzero(suspects[q]).tolist()) == {c for _, c in owned[2:]}


@pytest.mark.parametrize("votes", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_a_vote_counts(votes, seed):
    made, voters = random_candidates(seed), (PercentOfPositive(), RankWindow(first=3), Judge(signal="judged"))
    rule = Vote(votes=votes, filters=voters)
    drops = [~voter(made) for voter in voters]
    np.testing.assert_array_equal(~rule(made), sum(drop.astype(int) for drop in drops) >= votes)
    names = np.array(["", *rule.reasons], dtype=object)[rule.verdicts(made)]
    for q, k in np.argwhere(~rule(made)):
        agreed = [voter.kind for voter, drop in zip(voters, drops, strict=True) if drop[q, k]]
        assert names[q, k] == f"vote({'+'.join(agreed)})"
    suspected = (voters[0].suspects(made) | voters[2].suspects(made)) & ~rule(made)
    np.testing.assert_array_equal(rule.suspects(made), suspected)


def test_voters_of_a_kind_and_votes_of_votes_are_told_apart():
    inner = Vote(votes=1, filters=(SameGroup(), ScoreRange()))
    rule = Vote(votes=2, filters=(Judge(signal="a"), Judge(signal="b"), inner))
    assert rule.reasons == (
        "vote(judge+judge_2)",
        "vote(judge+vote)",
        "vote(judge_2+vote)",
        "vote(judge+judge_2+vote)",
    )
    assert rule.signals == ("a", "b", "same_group", "encoder")


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
        ({"kind": "saha", "pool": 4, "keep": 5}, "keep is 5, more than the pool of 4"),
        ({"kind": "judge"}, "signal"),
        ({"kind": "vote", "votes": 3, "filters": [{"kind": "same_group"}] * 2}, "votes is 3, and there are 2 filters"),
        ({"kind": "vote", "votes": 1, "filters": [{"kind": "same_group"}]}, "at least 2 items"),
        ({"kind": "agreement", "of": []}, "at least 1 item"),
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
