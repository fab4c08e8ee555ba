import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.core.shingles import jaccard, shingles
from embedkit.core.text import normalised
from embedkit.measures.duplicates import NearDuplicates, bands, crowded
from tests.oracles import jaccard_by_hand

WORDS = st.lists(st.sampled_from("a b c d e f g h i j k l m n o p".split()), min_size=0, max_size=30)


@given(st.text())
def test_normalising_twice_changes_nothing(text):
    assert normalised(normalised(text)) == normalised(text)


@given(st.text(alphabet=st.characters(codec="ascii")), st.sampled_from([" ", "\n", "\t  "]))
def test_case_and_white_space_do_not_tell_texts_apart(text, space):
    assert normalised(text.upper().replace(" ", space)) == normalised(text)


def test_compatibility_forms_are_one():
    assert normalised("ﬁle №1 Ｆｕｌｌ\u00a0STRASSE") == normalised("file no1 full straße")


@given(WORDS, WORDS)
def test_jaccard_equals_the_formula(a, b):
    assert jaccard(shingles(" ".join(a)), shingles(" ".join(b))) == pytest.approx(jaccard_by_hand(a, b, 3))


def test_sentence_punctuation_is_nothing_and_symbols_are_words():
    assert jaccard(shingles("List all files."), shingles("list all, files")) == 1
    assert jaccard(shingles("sort a list in C++"), shingles("sort a list in C#")) < 1
    assert shingles("...!").size == 0
    assert shingles("one").size == 1
    assert shingles("検索する方法を教えて").size == 8


@given(st.floats(0.05, 1))
def test_bands_find_nearly_every_pair_at_the_threshold(threshold):
    count, rows = bands(threshold)
    assert count * rows <= 128
    assert (1 - threshold**rows) ** count <= 1e-2
    assert rows == 1 or (1 - threshold**rows) ** count <= 1e-3


def near_pairs(texts, threshold):
    """Row -> the earlier row that stands for it."""
    index, found = NearDuplicates(threshold), {}
    for i, text in enumerate(texts):
        sketch = index.sketch(text)
        if match := index.match(sketch):
            found[i] = match
        else:
            index.add(i, sketch)
    return found


@settings(deadline=None)  # the first one imports datasketch
@given(st.lists(WORDS, max_size=12), st.sampled_from([0.3, 0.5, 0.9, 1.0]))
def test_only_texts_at_or_above_the_threshold_are_near(texts, threshold):
    found = near_pairs([" ".join(t) for t in texts], threshold)
    for row, match in found.items():
        assert match.key < row
        assert match.key not in found
        assert match.similarity == pytest.approx(jaccard_by_hand(texts[row], texts[match.key], 3))
        assert match.similarity >= threshold - 1e-9


def test_near_duplicates_among_many_texts_are_found():
    rng = random.Random(0)
    words = [f"w{i}" for i in range(500)]
    texts = [rng.choices(words, k=80) for _ in range(200)]
    copies = [[*text[:-1], "changed"] for text in texts]  # 77 of 79 shingles shared: J = 0.975
    strangers = [rng.choices(words, k=80) for _ in range(100)]
    found = near_pairs([" ".join(t) for t in (*texts, *copies, *strangers)], 0.9)
    assert {row: match.key for row, match in found.items()} == {200 + i: i for i in range(200)}


def test_short_texts_at_the_threshold_are_found():
    """Nine of ten shingles shared is a Jaccard similarity of 0.9: the shortest texts that can be near, not equal."""
    words = [f"w{i}" for i in range(12)]
    found = near_pairs([" ".join(words), " ".join(words[:11])], 0.9)
    assert found[1].similarity == pytest.approx(0.9)


def test_the_closest_match_wins_and_then_the_first():
    base = [f"w{i}" for i in range(40)]
    index = NearDuplicates(0.5)
    for key, text in enumerate([[*base[:30], "x"], base[:38], base[:38], ["unrelated"]]):
        index.add(key, index.sketch(" ".join(text)))
    assert index.match(index.sketch(" ".join(base))).key == 1
    assert index.match(index.sketch("nothing like it")) is None
    assert index.match(index.sketch("?")) is None


@given(st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), max_size=12))
def test_crowded_rows_share_a_key_with_another(rows):
    keys = np.array(rows, dtype=np.uint64).reshape(len(rows), 3)
    by_hand = [
        i
        for i, row in enumerate(rows)
        if any(row[k] and row[k] == other[k] for j, other in enumerate(rows) if j != i for k in range(3))
    ]
    assert crowded(keys).tolist() == by_hand


@given(st.lists(WORDS.map(" ".join), max_size=12), st.sampled_from([0.3, 0.5, 0.9]))
def test_texts_that_match_share_a_key(texts, threshold):
    index = NearDuplicates(threshold)
    sketches = [index.sketch(text) for text in texts]
    close = set(crowded(np.array([index.keys_of(s) for s in sketches]).reshape(len(texts), index.keys)).tolist())
    for row, sketch in enumerate(sketches):
        if match := index.match(sketch):
            assert {row, match.key} <= close
        else:
            index.add(row, sketch)
