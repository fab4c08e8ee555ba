"""Runs of words of many texts at once, against those of one text in plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.core.runs import Sets, Words
from embedkit.core.shingles import jaccard, shingles, words
from embedkit.core.text import normalised

TEXTS = st.lists(st.text(alphabet="ab cC+.,検\n", max_size=40), max_size=6)


def parts(sets: Sets) -> list[np.ndarray]:
    return np.split(sets.values, np.cumsum(sets.sizes)[:-1]) if len(sets) else []


def runs_by_hand(text: str, length: int) -> set[tuple[str, ...]]:
    found = words(normalised(text))
    return {tuple(found[i : i + length]) for i in range(len(found) - length + 1)}


@settings(deadline=None)
@given(TEXTS, st.integers(1, 5))
def test_sets_of_runs_share_what_sets_of_words_share(texts, length):
    found, expected = parts(Words(texts).runs(length)), [runs_by_hand(text, length) for text in texts]
    assert [len(one) for one in found] == [len(one) for one in expected]
    for a, ours in zip(found, expected, strict=True):
        assert (np.diff(a.astype(object)) > 0).all()
        for b, theirs in zip(found, expected, strict=True):
            assert len(np.intersect1d(a, b)) == len(ours & theirs)


@settings(deadline=None)
@given(TEXTS)
def test_shingles_are_those_of_one_text(texts):
    found, expected = parts(Words(texts).shingles(3)), [shingles(text) for text in texts]
    assert [len(one) for one in found] == [len(one) for one in expected]
    for a, ours in zip(found, expected, strict=True):
        for b, theirs in zip(found, expected, strict=True):
            assert jaccard(a, b) == pytest.approx(jaccard(ours, theirs))


def test_digests_are_equal_where_texts_are_and_zero_without_words():
    found = Words(["Ｌist  all\nfiles", "list ALL files", "list all files.", "", " ?!", "検索"]).digests
    assert found[0] == found[1] != found[2]
    assert found[3] == found[4] == 0
    assert found[5] != 0


def test_more_words_than_are_remembered_change_nothing(monkeypatch):
    texts = [" ".join(f"w{i * j % 23}" for j in range(20)) for i in range(9)]
    expected = Words(texts).runs(3)
    monkeypatch.setattr("embedkit.core.runs._KNOWN", 4)
    found = Words(texts).runs(3)
    assert np.array_equal(found.values, expected.values)


def test_sets_are_joined_in_order():
    texts = ["a b c d", "", "b c d e f"]
    whole, one = Words(texts).runs(2), [Words([text]).runs(2) for text in texts]
    joined = Sets.joined(one)
    assert np.array_equal(joined.values, whole.values)
    assert joined.sizes.tolist() == whole.sizes.tolist() == [3, 0, 4]
    assert len(Sets.joined([])) == len(Sets.of([])) == 0
    assert whole.owners().tolist() == [0, 0, 0, 2, 2, 2, 2]
