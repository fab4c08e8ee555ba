"""Figures pair what belongs together."""

import itertools

import numpy as np
import pytest

from embedkit.evaluation.compression.figures import Found, Judged, Resampling, compare, front
from embedkit.measures.significance import paired_bootstrap

HOW = Resampling(samples=500, confidence=0.9, seed=3)


def test_queries_are_paired_by_id_not_by_place():
    rng = np.random.default_rng(0)
    names = [f"q{i}" for i in range(40)]
    full = {name: {"ndcg@10": float(rng.random())} for name in names}
    ours = {name: {"ndcg@10": full[name]["ndcg@10"] - 0.01, "overlap@10": 0.5} for name in reversed(names)}
    found = compare(ours, full, HOW)
    assert found["ndcg@10"]["difference"] == pytest.approx(-0.01)
    assert found["ndcg@10"]["low"] == pytest.approx(-0.01)  # paired by place it would be wide
    assert found["ndcg@10"]["high"] == pytest.approx(-0.01)
    assert found["overlap@10"] == {"mean": 0.5}


def test_intervals_are_those_of_the_paired_bootstrap():
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 30))
    rows = [{f"q{i}": {"mrr@10": float(x)} for i, x in enumerate(values)} for values in (a, b)]
    expected = paired_bootstrap(a, b, samples=500, confidence=0.9, seed=3)
    found = compare(*rows, HOW)["mrr@10"]
    assert found == {"mean": a.mean(), **vars(expected)}


def test_full_vectors_do_not_differ_from_themselves():
    rows = {"a": {"ndcg@10": 0.2}, "b": {"ndcg@10": 0.9}}
    assert compare(rows, rows, HOW)["ndcg@10"] == {"mean": 0.55, "difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}


def test_overlap_is_the_share_of_the_full_ranking_found_again():
    judged = Judged(["a", "b"], [f"d{i}" for i in range(9)], {"a": {"d3": 1}, "b": {"d8": 2, "d1": 1}})
    full = Found(np.array([[3, 1, 2], [8, 1, 0]]), np.array([[3.0, 2, 1], [9, 8, 7]]))
    ours = Found(np.array([[1, 3, 5], [8, 1, 6]]), np.array([[3.0, 2, 1], [9, 8, 7]]))
    values = judged.measure(ours, full, ["mrr@3", "recall@2"], [1, 2, 3])
    assert values["a"] == pytest.approx(
        {"mrr@3": 0.5, "recall@2": 1.0, "overlap@1": 0.0, "overlap@2": 1.0, "overlap@3": 2 / 3}
    )
    assert values["b"] == pytest.approx(
        {"mrr@3": 1.0, "recall@2": 1.0, "overlap@1": 1.0, "overlap@2": 1.0, "overlap@3": 2 / 3}
    )


def test_the_front_is_what_nothing_beats():
    points = [(4.0, 0.5), (2.0, 0.5), (2.0, 0.4), (1.0, 0.1), (1.0, 0.1), (8.0, 0.6)]
    assert front(points) == [False, True, False, True, True, True]
    rng = np.random.default_rng(0)
    points = [(float(b), float(v)) for b, v in rng.integers(0, 6, (30, 2))]
    for point, on in zip(points, front(points), strict=True):
        beaten = [p for p in points if p != point and p[0] <= point[0] and p[1] >= point[1]]
        assert on == (not beaten)
    assert all(front(points[:1]))
    assert list(itertools.compress(points, front(points)))


def test_a_querys_own_document_is_taken_out_of_its_ranking():
    found = Found(np.array([[3, 1, 2], [8, 1, 0], [4, 5, 6]]), np.array([[3.0, 2, 1], [9, 8, 7], [6, 5, 4]]))
    left = found.without(np.array([1, -1, 6]))
    assert left.rows.tolist() == [[3, 2], [8, 1], [4, 5]]
    assert left.scores.tolist() == [[3.0, 1.0], [9.0, 8.0], [6.0, 5.0]]
