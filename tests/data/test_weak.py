from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from embedkit.core.estimate import Size
from embedkit.core.records import Corpus
from embedkit.data.weak import Crops, TitleBody, WeakPair, collect

WORDS = [f"w{i}" for i in range(100)]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_titles_ask_for_their_texts():
    titles = ["Cats", "", "Empty", "Same", *["Index"] * 3]
    texts = ["They purr.", "no title", " ", "same", *"abc"]
    skipped: Counter = Counter()
    corpus = Corpus([f"d{i}" for i in range(7)], titles, texts)
    pairs = TitleBody(shared_by=2).make(corpus, rng(), skipped)
    assert pairs == [WeakPair(0, "title", "Cats", "They purr.")]
    assert skipped == {"without title or text": 2, "title equal to text": 1, "title shared by more than 2": 3}
    assert len(TitleBody(shared_by=3).make(corpus, rng(), skipped)) == 4


@given(
    st.integers(4, 100), st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)).map(sorted), st.integers(1, 4), st.integers()
)
def test_a_crop_is_a_run_of_words_of_a_length_within_bounds(length, share, min_words, seed):
    words = WORDS[:length]
    maker = Crops(share=tuple(share), min_words=min_words, deletion=0.0)
    crop = maker.crop(words, np.random.default_rng(abs(seed))).split()
    start = words.index(crop[0])
    assert crop == words[start : start + len(crop)]
    assert max(min_words, int(share[0] * length)) <= len(crop) <= max(min_words, int(share[1] * length))


def test_deletion_thins_a_crop_out_and_never_empties_it():
    maker = Crops(share=(1.0, 1.0), deletion=0.3)
    generator = rng()
    lengths = [len(maker.crop(WORDS, generator).split()) for _ in range(300)]
    assert 68 < np.mean(lengths) < 72
    assert all(Crops(deletion=0.99).crop(WORDS[:8], generator) for _ in range(50))


def test_crops_are_two_a_pair_and_short_documents_give_none():
    corpus = Corpus(["long", "short"], ["", "title"], [" ".join(WORDS), "w w w"])
    skipped: Counter = Counter()
    pairs = Crops(per_document=5).make(corpus, rng(), skipped)
    assert [(p.source, p.name) for p in pairs] == [(0, f"crop{i}") for i in range(5)]
    assert all(p.query != p.positive for p in pairs)
    assert skipped == {"shorter than 8 words": 1}
    assert pairs == Crops(per_document=5).make(corpus, rng(), skipped)
    assert pairs != Crops(per_document=5).make(corpus, np.random.default_rng(1), skipped)
    same = Corpus(["d"], [""], ["w " * 50])
    assert len(Crops(share=(0.5, 0.5), deletion=0.0).make(same, rng(), skipped)) == 0
    assert skipped["both crops equal"] == 1


def test_texts_of_one_document_never_are_each_others_negatives():
    made = [
        WeakPair(0, "title", "Index", "a"), WeakPair(1, "title", "index", "b"), WeakPair(2, "title", "Other", "c"),
        WeakPair(0, "crop0", "x y", "y z"), WeakPair(1, "crop0", "Held Out", "v"),
        WeakPair(2, "crop0", "u", "held out"),
    ]  # fmt: skip
    corpus = Corpus(["d0", "d1", "d2"], [""] * 3, [""] * 3)
    pairs = collect(corpus, made, frozenset(["held out"]))
    known = {row.query_id: row.known for row in pairs.rows}
    assert known == {
        "d0#title": ("d0#title", "d0#crop0", "d1#title"),  # equal queries share what is known
        "d1#title": ("d1#title", "d0#title", "d0#crop0"),
        "d2#title": ("d2#title",),
        "d0#crop0": ("d0#crop0", "d0#title"),
    }
    assert [row.positives for row in pairs.rows] == [(q,) for q in known]
    assert list(pairs.corpus.texts) == ["a", "b", "c", "y z"]
    assert list(pairs.queries.texts) == ["Index", "index", "Other", "x y"]


def test_sizes_and_specs():
    size = Crops(per_document=3, deletion=0.0).size(Size(documents=10, document_tokens=200))
    assert (size.pairs, size.document_tokens) == (30, pytest.approx(55))
    assert TitleBody().size(Size(documents=10, document_tokens=200)).document_tokens == 200
    for share in ((0.5, 0.1), (0.0, 0.5), (0.5, 1.5)):
        with pytest.raises(ValidationError, match="expected two shares of a document"):
            Crops(share=share)
