import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from embedkit.core.errors import ArtifactError, DataError
from embedkit.core.separation import read_separation, write_separation
from embedkit.evaluation.separation import Options, figures, geometry, separation, told
from embedkit.measures.geometry import uniformity
from tests.measures.scored import draw

FEW = Options(samples=200)


@pytest.fixture(scope="module")
def found():
    return separation(*draw(120, 40, gap=2.0, shift=0.7, digits=3), options=FEW)


def test_figures_are_those_of_the_pairs(found):
    codes, scores, relevant = draw(120, 40, gap=2.0, shift=0.7, digits=3)
    pooled, own = found["auc"]["pooled"], found["auc"]["per_query"]
    assert pooled["value"] == pytest.approx(roc_auc_score(relevant, scores), abs=1e-12)
    each = [roc_auc_score(relevant[codes == q], scores[codes == q]) for q in range(120)]
    assert own["value"] == pytest.approx(np.mean(each), abs=1e-12)
    assert pooled["value"] < own["value"]
    assert pooled["low"] < pooled["value"] < pooled["high"] < pooled["low"] + 0.1
    assert own["low"] < own["value"] < own["high"]
    assert found["pairs"] == {"queries": 120, "positives": 240, "negatives": 4800, "queries_without_positives": 0}
    assert sum(found["histograms"]["negatives"]["counts"]) == 4800


def test_a_threshold_does_what_it_says_to_these_pairs(found):
    _, scores, relevant = draw(120, 40, gap=2.0, shift=0.7, digits=3)
    for one in [*found["thresholds"]["precision"], found["thresholds"]["f1"]]:
        above = scores >= one["threshold"]
        assert one["taken"] == above.sum()
        assert one["precision"] == pytest.approx(relevant[above].mean())
        assert one["recall"] == pytest.approx(relevant[above].sum() / 240)
    half = found["thresholds"]["precision"][0]
    assert half["reached"]
    assert half["precision"] >= 0.5
    assert half["low"] <= half["threshold"] <= half["high"]
    assert half["held_out"]["low"] < half["held_out"]["precision"] < half["held_out"]["high"]
    assert half["held_out"]["precision"] == pytest.approx(0.5, abs=0.12)


def test_held_out_figures_are_by_the_thresholds_of_other_folds():
    """Two queries calibrate each other: the first one's scores are all higher, so that its threshold takes nothing of
    the second, and the second one's takes everything of the first."""
    found = separation([0, 0, 1, 1], [0.9, 0.8, 0.2, 0.1], [1, 0, 1, 0], options=Options(folds=2, precisions=(1.0,)))
    held = found["thresholds"]["precision"][0]["held_out"]
    assert held["precision"] == 0.5
    assert held["recall"] == 0.5


def test_a_precision_out_of_reach_is_said_to_be():
    codes, scores, relevant = draw(30, 20, gap=0.0, seed=4)
    scores = scores.copy()
    scores[~relevant & (codes % 5 == 0)] += 20
    found = separation(codes, scores, relevant, options=FEW)
    one = found["thresholds"]["precision"][-1]
    assert not one["reached"]
    assert one["precision"] < 0.5
    assert one["held_out"] == {"precision": None, "recall": 0.0, "low": None, "high": None}
    assert one["reached_in"] == 0
    assert any("precision 0.95 cannot be reached: the highest is" in line for line in told(found))


def test_all_is_json_with_few_points_and_the_same_every_time(found, tmp_path):
    assert len(found["roc"]) <= 200
    assert found["roc"][0] == [0.0, 0.0, None]
    again = separation(*draw(120, 40, gap=2.0, shift=0.7, digits=3), options=FEW)
    write_separation(tmp_path, {"": found})
    first = (tmp_path / "separation.json").read_bytes()
    write_separation(tmp_path, {"": again})
    assert (tmp_path / "separation.json").read_bytes() == first
    assert read_separation(tmp_path) == {"": json.loads(json.dumps(found))}
    assert read_separation(tmp_path / "nowhere") == {}


def test_the_order_of_rows_changes_nothing(found):
    columns = draw(120, 40, gap=2.0, shift=0.7, digits=3)
    order = np.random.default_rng(0).permutation(len(columns[0]))
    mixed = separation(*(column[order] for column in columns), options=FEW)
    for part in ("auc", "roc", "thresholds", "histograms"):
        assert json.dumps(mixed[part]) == json.dumps(found[part])


def test_calibration_is_good_where_scores_are_logistic_and_told_where_they_are_not():
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(2000), 20)
    scores = rng.normal(0.3, 0.1, len(codes))
    relevant = rng.random(len(codes)) < 1 / (1 + np.exp(-(scores / 0.03 - 14)))
    calibration = separation(codes, scores, relevant, options=FEW)["calibration"]
    assert calibration["temperature"] == pytest.approx(0.03, rel=0.1)
    for one in calibration["ece"].values():
        assert one["value"] < 2 * one["noise"]
    assert calibration["cosine"]["ece"] > 0.2 > 10 * calibration["ece"]["width"]["value"]
    assert calibration["brier"]["low"] < calibration["brier"]["score"] < calibration["brier"]["high"]
    backwards = separation(codes, -scores, relevant, options=FEW)
    assert "scores do not rise with relevance: the calibration is of no use" in backwards["notes"]
    assert separation(codes, 10 * scores, relevant, options=FEW)["calibration"]["cosine"] is None


def test_one_query_is_told_what_can_be_told():
    found = separation([4, 4, 4], [0.9, 0.5, 0.4], [1, 0, 0])
    assert found["calibration"] is None
    assert found["auc"]["pooled"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert found["thresholds"]["f1"]["held_out"] == {"precision": None, "recall": 0.0, "low": None, "high": None}
    assert "too few queries for any to be calibrated by the others" in found["notes"]
    assert told(found)
    assert separation([0, 0, 1, 1], [0.5, 0.5, 0.5, 0.5], [1, 0, 1, 0])["auc"]["pooled"]["value"] == 0.5


def test_queries_without_positives_are_counted_and_left_out(found):
    codes, scores, relevant = draw(120, 40, gap=2.0, shift=0.7, digits=3)
    more = separation(np.r_[codes, [500] * 9], np.r_[scores, [9.0] * 9], np.r_[relevant, [False] * 9], options=FEW)
    assert more["pairs"]["queries_without_positives"] == 1
    assert more["auc"] == found["auc"]
    assert more["notes"] == ["queries to which nothing is relevant, left out: 1"]
    with pytest.raises(DataError, match="relevant"):
        separation([0, 0], [0.1, 0.2], [False, False])


def test_a_threshold_below_all_of_a_querys_pairs_is_cut_short():
    found = separation([0, 0, 1, 1], [0.9, 0.8, 0.5, 0.1], [1, 0, 1, 0], options=Options(precisions=(0.6,)))
    one = found["thresholds"]["precision"][0]
    assert (one["threshold"], one["queries_cut_short"]) == (0.5, 1)


def test_geometry_is_of_each_query_once():
    rng = np.random.default_rng(0)
    queries, documents, sample = (rng.normal(size=(n, 6)) for n in (4, 4, 9))
    queries[1] = queries[0]
    found = geometry(queries, documents, sample, codes=[0, 0, 1, 2])
    apart = geometry(queries[[0, 2, 3]], documents[[0, 2, 3]], sample)
    assert found["uniformity"] == apart["uniformity"]
    assert found["tolerance"] == pytest.approx(1 - found["alignment"] / 2)
    assert found["tolerance_documents"] is not None
    assert apart["tolerance_documents"] is None
    told_of = told(separation([0, 0], [0.9, 0.1], [1, 0], options=FEW) | {"geometry": found})
    assert any(f"alignment {found['alignment']:.3f}" in line for line in told_of)
    assert any("tolerance of documents of one query" in line for line in told_of)
    json.dumps(found, allow_nan=False)


def test_vectors_without_a_direction_are_counted_and_left_out():
    rng = np.random.default_rng(0)
    queries, documents, sample = (rng.normal(size=(n, 6)) for n in (4, 4, 9))
    whole = geometry(queries, documents, sample)
    nothing = np.zeros((1, 6))
    found = geometry(np.r_[queries, nothing], np.r_[documents, nothing], np.r_[sample, nothing])
    assert found == whole | {"without_direction": 2}
    none = geometry(nothing, nothing, nothing)
    told_of = told(separation([0, 0], [0.9, 0.1], [1, 0], options=FEW) | {"geometry": none})
    assert "vectors of length 0: 2" in told_of
    assert (none["alignment"], none["uniformity"]) == (None, {"queries": None, "documents": None})


def test_many_vectors_are_thinned_evenly(monkeypatch):
    monkeypatch.setattr(figures, "_COMPARED", 3)
    sample = np.random.default_rng(0).normal(size=(9, 6))
    found = geometry(sample[:2], sample[:2], sample)
    assert found["uniformity"]["documents"] == uniformity(sample[[0, 4, 8]])
    assert found["sample"] == 9


def test_figures_that_cannot_be_read_are_told(tmp_path):
    (tmp_path / "separation.json").write_text("[1]")
    with pytest.raises(ArtifactError, match=r"separation.json: cannot be read .* Delete its folder to remake it"):
        read_separation(tmp_path)
