import math

import numpy as np
import pytest

from embedkit.mining.rerank import compare

QRELS = {"q0": {"a": 1}, "q1": {"c": 1}, "q2": {"z": 1}}
POOLS = [np.array([0, 1, 2]), np.array([2, 1]), np.array([0, 1])]
STUDENT = [np.array([0.3, 0.5, 0.4]), np.array([0.9, 0.1]), np.array([0.2, 0.1])]
TEACHER = [np.array([3.0, 2.0, 1.0]), np.array([1.0, 2.0]), np.array([0.0, 1.0])]


def test_orders_of_the_same_candidates_are_compared():
    outcome = compare(QRELS, ["a", "b", "c"], POOLS, student=STUDENT, teachers=[TEACHER, STUDENT], fused=TEACHER)
    second, third = 1 / math.log2(3), 1 / math.log2(4)
    assert outcome.student == pytest.approx((third + 1 + 0) / 3)  # q2's document is not among its candidates
    assert outcome.teachers == pytest.approx(((1 + second + 0) / 3, outcome.student))
    assert outcome.fused == outcome.teachers[0]
    assert outcome.interval.difference == pytest.approx(outcome.fused - outcome.student)
    assert outcome.better == (outcome.fused > outcome.student) is True


def test_equal_is_not_better():
    outcome = compare(QRELS, ["a", "b", "c"], POOLS, student=STUDENT, teachers=[STUDENT], fused=STUDENT)
    assert not outcome.better
    stats = outcome.stats([{"kind": "bm25", "weight": 1.0}])
    assert stats["teachers"] == [{"kind": "bm25", "weight": 1.0, "score": outcome.student}]
    assert stats["difference"] == stats["low"] == stats["high"] == 0
