import pytest

from embedkit.core.errors import DataError
from embedkit.core.records import Corpus, Pair, Pairs, Queries
from embedkit.training.examples import examples_of


def pairs(*rows: Pair) -> Pairs:
    corpus = Corpus(["a", "b", "c", "same as a"], ["", "", "", ""], ["text a", "text b", "text c", "text a"])
    return Pairs(corpus, Queries(["q1", "q2", "twin of q1", "empty"], ["one", "two", "one", " "]), rows)


def test_equal_texts_have_equal_numbers_whatever_their_ids():
    examples = examples_of(pairs(Pair("q1", ("a", "same as a")), Pair("twin of q1", ("b",)), Pair("q2", ("c",))))
    first, second, third = examples.rows
    assert first.query == second.query != third.query
    assert first.positives == (0,)
    assert examples.known[first.query] == {0, 1}  # what is relevant to either twin is relevant to both
    assert examples.documents == ["text a", "text b", "text c"]


def test_a_negative_known_under_another_id_is_dropped_with_its_target():
    row = Pair("q1", ("a",), ("a",), ("same as a", "b"), positive_targets=(0.9,), negative_targets=(0.8, 0.1))
    examples = examples_of(pairs(row), needs={"targets"})
    assert examples.rows[0].negatives == (1,)
    assert examples.rows[0].negative_targets == (0.1,)
    assert examples.skipped == {"negatives known to be relevant": 1}


def test_unusable_rows_are_left_out_and_counted():
    examples = examples_of(pairs(Pair("q1", ("a",)), Pair("q2", ()), Pair("empty", ("b",))))
    assert len(examples.rows) == 1
    assert examples.skipped == {"rows with an empty query": 1, "rows without a positive": 1}


@pytest.mark.parametrize("targets", [(), (0.1,), (0.1, float("nan"))])
def test_rows_without_whole_targets_are_left_out_where_targets_are_needed(targets):
    row = Pair("q1", ("a",), ("a",), ("b", "c"), positive_targets=(0.9,), negative_targets=targets)
    assert examples_of(pairs(row)).rows
    with pytest.raises(DataError, match="none of 1 rows can be trained on: 1 rows without target scores"):
        examples_of(pairs(row), needs={"targets"})


@pytest.mark.parametrize(
    ("row", "message"),
    [(Pair("q9", ("a",)), "query 'q9' has no text"), (Pair("q1", ("z",)), "document 'z' has no text")],
)
def test_an_id_without_text_is_an_error(row, message):
    with pytest.raises(DataError, match=message):
        examples_of(pairs(row))


def test_no_rows_at_all():
    with pytest.raises(DataError, match="none of 0 rows can be trained on: it is empty"):
        examples_of(pairs())
