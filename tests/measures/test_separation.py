import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score, roc_curve

from embedkit.measures.pairs import Pairs
from embedkit.measures.ranking import per_query
from embedkit.measures.separation import auc, auc_by_query, roc, variance_between, without_shift
from tests.measures.scored import draw, pairs
from tests.oracles.separation import auc_by_hand

scores = st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9]), min_size=1, max_size=12)


@given(scores, scores)
@settings(max_examples=60)
def test_auc_counts_wins_and_half_of_the_ties(positive, negative):
    assert auc(np.sort(positive), np.sort(negative)) == pytest.approx(auc_by_hand(positive, negative))


def test_auc_is_the_mann_whitney_statistic_of_all_pairs():
    found = pairs(digits=1)
    high, low = found.sides
    statistic = mannwhitneyu(high, low).statistic
    assert auc(high, low) == pytest.approx(statistic / (len(high) * len(low)), abs=1e-12)
    assert auc(high, low) == pytest.approx(roc_auc_score(found.relevant, found.scores), abs=1e-12)


def test_the_worked_example_of_the_paper():
    """S = [[0.8, 0.7], [0.5, 0.6]], the positives on the diagonal; 0.15 more on all of row 2 makes it perfect."""
    assert auc(np.array([0.6, 0.8]), np.array([0.5, 0.7])) == 0.75
    assert auc(np.array([0.75, 0.8]), np.array([0.65, 0.7])) == 1.0


def test_auc_of_each_query_is_that_of_its_own_pairs():
    codes, values, relevant = draw(12, 9, digits=1, seed=3)
    codes, values, relevant = (
        np.r_[a, b] for a, b in zip((codes, values, relevant), ([12, 12], [0, 1], [1, 1]), strict=True)
    )
    found = auc_by_query(Pairs.of(codes, values, relevant.astype(bool)))
    expected = [roc_auc_score(relevant[codes == q], values[codes == q]) for q in range(12)]
    assert found[:12] == pytest.approx(expected, abs=1e-12)
    assert math.isnan(found[12])


def test_the_curve_is_sklearns():
    found = pairs(digits=1)
    curve = roc(*found.sides)
    x, y, thresholds = roc_curve(found.relevant, found.scores, drop_intermediate=False)
    assert curve.thresholds.tolist() == thresholds.tolist()
    assert curve.false_positive_rate == pytest.approx(x, abs=1e-12)
    assert curve.true_positive_rate == pytest.approx(y, abs=1e-12)


def test_a_thinned_curve_has_points_of_the_whole_one_from_corner_to_corner():
    found = pairs(200, 50)
    whole, thin = roc(*found.sides), roc(*found.sides, points=100)
    assert 80 <= len(thin.thresholds) <= 100
    at = np.searchsorted(-whole.thresholds, -thin.thresholds)
    assert thin.true_positive_rate.tolist() == whole.true_positive_rate[at].tolist()
    assert thin.false_positive_rate.tolist() == whole.false_positive_rate[at].tolist()
    assert (thin.true_positive_rate[0], thin.false_positive_rate[0]) == (0, 0)
    assert (thin.true_positive_rate[-1], thin.false_positive_rate[-1]) == (1, 1)


def test_shifts_between_queries_cost_pooled_auc_only():
    codes, values, relevant = draw(60, 20, gap=2.0)
    moved = values + np.random.default_rng(1).normal(0, 3, 60)[codes]
    before, after = Pairs.of(codes, values, relevant), Pairs.of(codes, moved, relevant)
    assert auc_by_query(after) == pytest.approx(auc_by_query(before))
    qrels = {str(q): {str(i): 1 for i in np.flatnonzero((codes == q) & relevant)} for q in range(60)}
    ranked = [{str(q): {str(i): s[i] for i in np.flatnonzero(codes == q)} for q in range(60)} for s in (values, moved)]
    assert per_query(ranked[0], qrels, ["ndcg@10"]) == per_query(ranked[1], qrels, ["ndcg@10"])
    assert auc(*after.sides) < auc(*before.sides) - 0.1
    assert variance_between(after) > 0.8 > 0.1 > variance_between(before)
    assert auc(*without_shift(after).sides) == pytest.approx(auc(*without_shift(before).sides), abs=1e-9)


def test_variance_between_is_the_share_of_the_sums_of_squares():
    found = pairs(7, 5, shift=1.0)
    groups = [found.scores[(found.queries == q) & ~found.relevant] for q in range(7)]
    everything = np.concatenate(groups)
    between = sum(len(g) * (g.mean() - everything.mean()) ** 2 for g in groups)
    assert variance_between(found) == pytest.approx(between / ((everything - everything.mean()) ** 2).sum())
    assert variance_between(Pairs.of([0, 0, 1, 1], [1.0, 1.0, 2.0, 1.0], [1, 0, 1, 0])) == 0.0


def test_a_query_without_others_has_no_shift_to_remove():
    found = without_shift(Pairs.of([0, 0, 1, 2, 2], [3.0, 1.0, 9.0, 5.0, 4.0], [1, 0, 1, 1, 0]))
    assert found.scores.tolist() == [2.0, 0.0, 1.0, 0.0]
    assert found.queries.tolist() == [0, 0, 1, 1]
