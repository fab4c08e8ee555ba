import pytest

from embedkit.core.errors import DataError
from embedkit.core.records import Corpus, Pair, Pairs, Queries
from embedkit.training.examples import examples_of


def pairs(*rows: Pair, queries=(), documents=()) -> Pairs:
    """Pairs of these rows; `queries` and `documents` are classes."""
    corpus = Corpus(["a", "b", "c", "same as a"], ["", "", "", ""], ["text a", "text b", "text c", "text a"], documents)
    return Pairs(corpus, Queries(["q1", "q2", "twin of q1", "empty"], ["one", "two", "one", " "], queries), rows)


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


def test_gold_scores_need_no_negatives():
    row = Pair("q1", ("a", "b"), positive_targets=(0.9, 0.2))
    examples = examples_of(pairs(row), needs={"targets"})
    assert examples.rows[0].positive_targets == (0.9, 0.2)
    with pytest.raises(DataError, match="1 rows without negatives"):
        examples_of(pairs(row), needs={"targets", "negatives"})


def test_suspects_are_of_the_text_and_never_known_nor_negatives():
    rows = [
        Pair("q1", ("a",), negatives=("b", "c"), negative_targets=(0.1, 0.2), suspects=("same as a",)),
        Pair("twin of q1", ("a",), suspects=("c",)),
        Pair("q2", ("b",)),
    ]
    examples = examples_of(pairs(*rows))
    assert examples.suspects == {0: {2}}
    assert examples.rows[0].negatives == (1,)
    assert examples.rows[0].negative_targets == (0.1,)
    assert examples.skipped == {"negatives that may be relevant": 1}


def test_targets_of_all_rows_of_a_text_come_together():
    rows = [
        Pair("q1", ("a",), negatives=("b",), positive_targets=(0.9,), negative_targets=(0.1,)),
        Pair("twin of q1", ("same as a",), negatives=("c",), positive_targets=(0.8,), negative_targets=(0.3,)),
        Pair("twin of q1", ("a",), negatives=("c",)),  # no teacher saw this one
    ]
    assert examples_of(pairs(*rows), needs={"targets", "taught"}).taught == {0: {0: 0.9, 1: 0.1, 2: 0.3}}
    assert examples_of(pairs(*rows), needs={"targets"}).taught == {}


def test_classes_are_numbers_and_a_positive_is_of_its_querys():
    rows = [Pair("q1", ("a",), known=("a", "b")), Pair("q2", ("c",))]
    given = pairs(*rows, queries=("animals", "", "", ""), documents=("", "plants", "", "tools"))
    examples = examples_of(given, needs={"classes"})
    assert examples.query_classes == {0: 0}
    assert examples.document_classes == {0: 2, 1: 1}  # the one text of a and its double has the class it was given
    plain = pairs(*rows, queries=("animals", "", "", ""))
    assert examples_of(plain, needs={"classes"}).document_classes == {0: 0, 1: 0}
    assert examples_of(given).query_classes == {}


@pytest.mark.parametrize("classes", [(), ("", "", "", "animals")])
def test_no_classes_where_they_are_needed(classes):
    with pytest.raises(DataError, match="no query has a class, which this loss needs; the `data` stage reads"):
        examples_of(pairs(Pair("q1", ("a",)), queries=classes, documents=("x", "", "", "")), needs={"classes"})
