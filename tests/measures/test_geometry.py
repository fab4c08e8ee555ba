import numpy as np
import pytest

from embedkit.core.errors import DataError
from embedkit.measures import geometry
from embedkit.measures.geometry import alignment, togetherness, tolerance, uniformity
from tests.oracles.separation import uniformity_by_hand


def vectors(n, width=5, seed=0):
    return np.random.default_rng(seed).normal(size=(n, width))


def test_the_worked_number():
    assert uniformity([[1, 0], [0, 1], [-1, 0]]) == pytest.approx(-4.396349, abs=1e-6)


@pytest.mark.parametrize("t", [0.5, 2.0])
def test_uniformity_is_the_mean_over_pairs_whatever_is_compared_at_a_time(monkeypatch, t):
    monkeypatch.setattr(geometry, "_ROWS", 4)
    found = vectors(11)
    assert uniformity(found, t=t) == pytest.approx(uniformity_by_hand(found.tolist(), t))


def test_uniformity_knows_one_point_from_a_sphere_and_no_lengths():
    assert uniformity(np.tile(vectors(1), (6, 1))) == pytest.approx(0, abs=1e-12)
    wide = vectors(500, 200)
    assert uniformity(wide) == pytest.approx(-4, abs=0.1)
    assert uniformity(wide * np.linspace(1, 9, 500)[:, None]) == pytest.approx(uniformity(wide))


def test_alignment_is_the_squared_distance_of_pairs():
    queries, documents = vectors(9), vectors(9, seed=1)
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (queries, documents))
    assert alignment(queries, documents) == pytest.approx(((a - b) ** 2).sum(axis=1).mean())
    assert tolerance(queries, documents) == pytest.approx((a * b).sum(axis=1).mean())
    assert alignment(queries, 3 * queries) == pytest.approx(0, abs=1e-12)


def test_documents_of_one_query_are_compared_with_each_other():
    documents, codes = vectors(6), [7, 7, 7, 1, 900, 900]
    unit = documents / np.linalg.norm(documents, axis=1, keepdims=True)
    cosines = [unit[i] @ unit[j] for i, j in ((0, 1), (0, 2), (1, 2), (4, 5))]
    assert togetherness(documents, codes) == pytest.approx(np.mean(cosines))
    assert togetherness(documents, range(6)) is None


def test_what_has_no_direction_is_refused():
    with pytest.raises(DataError, match="vector 1 has length 0"):
        uniformity([[1.0, 0.0], [0.0, 0.0]])
    with pytest.raises(DataError, match="vector 0 has length nan"):
        tolerance([[np.nan, 0.0]], [[1.0, 0.0]])
    with pytest.raises(DataError, match="needs two; found 1"):
        uniformity([[1.0, 0.0]])
    with pytest.raises(DataError, match="needs its document"):
        alignment(vectors(2), vectors(3))
