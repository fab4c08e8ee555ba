from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedkit.mining.fusion import AnyFusion, MinMax, ReciprocalRank, ZScore, fuse_lists, ranks
from tests.oracles import fused_by_hand, z_scores_by_hand

MEMBERS = tuple(cls() for cls in get_args(get_args(AnyFusion)[0]))
integers = st.lists(st.integers(-50, 50), min_size=2, max_size=8)


def test_there_are_members():
    assert {member.kind for member in MEMBERS} == {"z_score", "min_max", "rrf"}


def test_min_max_on_the_published_example():
    fused = MinMax()([np.array([0.9, 0.6, 0.3]), np.array([20.0, 5.0, 10.0])], [1, 1])
    np.testing.assert_allclose(30 * fused, [30, 7.5, 5], rtol=1e-12)


def test_reciprocal_rank_is_its_formula():
    fused = ReciprocalRank(k=60)([np.array([0.9, 0.6, 0.3]), np.array([20.0, 5.0, 10.0])], [1, 2])
    np.testing.assert_allclose(fused, [1 / 61 + 2 / 61, 1 / 62 + 2 / 63, 1 / 63 + 2 / 62], rtol=1e-12)


def test_documents_of_equal_score_share_their_mean_rank():
    assert ranks(np.array([0.0, 3.0, 0.0, 1.0, 0.0])).tolist() == [4, 1, 4, 2, 4]


@given(integers, integers)
def test_z_score_is_its_formula(one, other):
    size = min(len(one), len(other))
    a, b = one[:size], other[:size]
    expected = [(3 * x + y) / 4 for x, y in zip(z_scores_by_hand(a), z_scores_by_hand(b), strict=True)]
    np.testing.assert_allclose(ZScore()([np.array(a, float), np.array(b, float)], [3, 1]), expected, atol=1e-9)


@pytest.mark.parametrize("fusion", [ZScore(), MinMax()], ids=lambda f: f.kind)
def test_a_teacher_that_says_nothing_leaves_the_order_to_the_others(fusion):
    others = np.array([0.3, 0.1, 0.2])
    fused = fusion([np.full(3, 7.3), others], [1, 1])
    np.testing.assert_allclose(fused, fusion([others], [1]) / 2)
    assert (fusion([np.full(3, 0.1)], [1]) == 0).all()


@pytest.mark.parametrize("fusion", MEMBERS, ids=lambda f: f.kind)
@given(scores=integers, seed=st.integers(0, 100))
def test_law_fusion_follows_the_documents(fusion, scores, seed):
    one = np.array(scores, dtype=np.float64)
    two = np.random.default_rng(seed).normal(size=len(one))
    order = np.random.default_rng(seed + 1).permutation(len(one))
    np.testing.assert_allclose(fusion([one, two], [1, 2])[order], fusion([one[order], two[order]], [1, 2]), atol=1e-12)


@pytest.mark.parametrize("fusion", MEMBERS, ids=lambda f: f.kind)
@given(scores=integers, scale=st.integers(1, 20), shift=st.integers(-100, 100))
def test_law_a_teachers_scale_does_not_matter(fusion, scores, scale, shift):
    one = np.array(scores, dtype=np.float64)
    np.testing.assert_allclose(fusion([one], [1]), fusion([scale * one + shift], [1]), atol=1e-9)


@pytest.mark.parametrize("fusion", MEMBERS, ids=lambda f: f.kind)
@given(scores=integers)
def test_law_one_teacher_alone_keeps_its_order(fusion, scores):
    one = np.array(scores, dtype=np.float64)
    fused = fusion([one], [1])
    for i in range(len(one)):
        for j in range(len(one)):
            assert (one[i] > one[j]) == (fused[i] > fused[j])


@pytest.mark.parametrize("seed", range(5))
def test_lists_are_fused_as_by_hand(seed):
    """Three retrievers of twenty queries: lists of different widths, some empty, many scores equal."""
    rng = np.random.default_rng(seed)
    rows, scores, lists = [], [], [[] for _ in range(20)]
    for width in (6, 1, 9):
        some, values = np.full((20, width), -1), np.zeros((20, width), dtype=np.float32)
        for query in range(20):
            count = rng.integers(0, width + 1)
            found = np.sort(rng.choice(15, count, replace=False))
            of_found = rng.integers(0, 4, count).astype(np.float32)
            order = np.lexsort((found, -of_found))
            some[query, :count], values[query, :count] = found[order], of_found[order]
            lists[query].append(list(zip(found[order].tolist(), of_found[order].tolist(), strict=True)))
        rows.append(some)
        scores.append(values)
    fused = fuse_lists(rows, scores, [1.0, 2.0, 0.5], ReciprocalRank(k=10))
    for query, of_query in enumerate(lists):
        kept = fused.rows[query][fused.rows[query] >= 0].tolist()
        assert kept == fused_by_hand(of_query, [1.0, 2.0, 0.5], 10)
        for number, entries in enumerate(of_query):
            places = {row: place for place, (row, _) in enumerate(entries)}
            expected = [places.get(row, -1) for row in kept]
            assert fused.places[number, query][: len(kept)].tolist() == expected


def test_no_queries_and_no_documents_fuse_to_nothing():
    empty, none = np.empty((0, 4), dtype=np.int64), np.full((3, 4), -1)
    assert fuse_lists([empty] * 2, [empty.astype(float)] * 2, [1, 1], ReciprocalRank()).rows.shape == (0, 0)
    assert fuse_lists([none] * 2, [none.astype(float)] * 2, [1, 1], ReciprocalRank()).rows.shape == (3, 0)
