import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embedkit.retrieval.distinct import distinct


@given(st.lists(st.text(st.characters(), max_size=2), max_size=40))
def test_equal_to_a_dictionary_of_the_texts(texts):
    found = distinct(iter(texts))
    first = list(dict.fromkeys(texts))
    assert [texts[row] for row in found.rows] == first
    assert found.places.tolist() == [first.index(text) for text in texts]
    assert len(np.unique(found.digests, axis=0)) == len(first)


def test_a_part_is_named_by_its_texts_and_their_order():
    one, other = distinct(["x", "a", "x", "b"]), distinct(["a", "b", "y"])
    assert one.name(slice(1, 3)) == other.name(slice(0, 2))
    assert len({other.name(part) for part in (slice(0, 2), slice(1, 3), slice(0, 3), slice(1, 2))}) == 4
    assert distinct(["b", "a"]).name(slice(0, 2)) != other.name(slice(0, 2))
