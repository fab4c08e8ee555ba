import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_recall_curve

from embedkit.measures.pairs import Pairs
from embedkit.measures.thresholds import Curve, f1, for_f1, for_precision, precision
from tests.measures.scored import pairs
from tests.oracles.separation import threshold_by_hand

rows = st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5]), st.booleans()), min_size=2, max_size=14).filter(
    lambda found: 0 < sum(flag for _, flag in found) < len(found)
)


@given(rows, st.sampled_from([0.2, 0.5, 2 / 3, 0.8, 1.0]))
@settings(max_examples=120)
def test_the_threshold_for_a_precision_finds_most(found, wanted):
    scores, relevant = zip(*found, strict=True)
    curve = Curve.of(Pairs.of([0] * len(scores), scores, relevant))
    place = for_precision(curve.positives, curve.negatives, wanted)
    expected = threshold_by_hand(list(scores), list(relevant), wanted)
    assert (curve.thresholds[place] if place >= 0 else None) == expected


def test_precision_is_sklearns():
    found = pairs(20, 10, gap=2.0)
    curve = Curve.of(found)
    shares, recalls, thresholds = precision_recall_curve(found.relevant, found.scores)
    at = np.searchsorted(thresholds, curve.thresholds)
    assert precision(curve.positives, curve.negatives) == pytest.approx(shares[at])
    assert curve.positives / curve.positives[0] == pytest.approx(recalls[at])


def test_the_best_f1_is_the_best_of_all_thresholds():
    found = pairs(20, 10, gap=2.0)
    curve = Curve.of(found)
    place = for_f1(curve.positives, curve.negatives)
    every = {t: f1_score(found.relevant, found.scores >= t) for t in found.scores}
    assert f1(curve.positives, curve.negatives)[place] == pytest.approx(max(every.values()))
    assert every[curve.thresholds[place]] == max(every.values())


def test_rows_are_weightings_of_their_own():
    positives, negatives = np.array([[4.0, 2, 1], [4, 2, 1], [0, 0, 0]]), np.array([[4.0, 1, 0], [9, 9, 9], [1, 0, 0]])
    assert for_precision(positives, negatives, 0.6).tolist() == [1, -1, -1]
    assert for_precision(positives, negatives, 1.0).tolist() == [2, -1, -1]
    assert for_f1(positives, negatives).tolist() == [0, 0, 0]
