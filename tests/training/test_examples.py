import math
import random
from collections import Counter
from dataclasses import fields

import pytest

from embedkit.core.errors import DataError
from embedkit.core.pairs import Pair, Pairs, write_pairs
from embedkit.core.records import Corpus, Queries
from embedkit.training import reading
from embedkit.training.examples import Examples, Row, examples_of, open_examples


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


def many(rows: int, seed: int) -> Pairs:
    """Rows with everything that pairs can have, in numbers that float32 holds; texts, queries and documents repeat."""
    draw = random.Random(seed)
    documents, queries = [f"d{i}" for i in range(40)], [f"q{i}" for i in range(30)]

    def some(most: int) -> tuple[str, ...]:
        return tuple(draw.choices(documents, k=draw.randint(0, most)))

    def scored(documents: tuple[str, ...]) -> tuple[float, ...]:
        return tuple(draw.choice([0.25, 0.5, 1.0, math.inf]) for _ in documents) if draw.random() < 0.9 else ()

    made = []
    for _ in range(rows):
        positives, negatives = some(3), some(6)
        made.append(
            Pair(
                draw.choice(queries),
                positives,
                known=some(2),
                negatives=negatives,
                positive_targets=scored(positives),
                negative_targets=scored(negatives),
                suspects=some(2),
            )
        )
    labels = ["", "red", "green", "blue"]
    corpus = Corpus(
        documents,
        [draw.choice(["", "title"]) for _ in documents],
        [f"text {i % 25}" for i in range(40)],
        [draw.choice(labels) for _ in documents],
    )
    asked = [f"ask {i % 20}" if i else " " for i in range(30)]
    return Pairs(corpus, Queries(queries, asked, [draw.choice(labels) for _ in queries]), made)


def everything(examples: Examples) -> dict[str, object]:
    """All that can be asked of examples, as plain values."""
    found = {field.name: getattr(examples, field.name) for field in fields(examples)}
    lists = {name: list(found[name]) for name in ("queries", "documents", "rows", "known")}
    maps = {name: dict(found[name]) for name in ("skipped", "suspects", "taught", "query_classes", "document_classes")}
    return lists | maps


NEEDS = [set(), {"negatives"}, {"targets", "taught"}, {"classes"}]


@pytest.mark.parametrize("needs", NEEDS, ids=lambda needs: " ".join(sorted(needs)))
@pytest.mark.parametrize("seed", range(3))
def test_pairs_in_files_are_those_in_memory(needs, seed, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_AT_A_TIME", 7)
    monkeypatch.setattr(reading, "_SEARCHES", 1000)
    pairs = many(50, seed)
    write_pairs(tmp_path, pairs)
    found = open_examples(tmp_path, tmp_path / "work", needs=needs)
    assert everything(found) == everything(examples_of(pairs, needs=needs))


def test_an_empty_file_of_pairs(tmp_path):
    write_pairs(tmp_path, pairs())
    with pytest.raises(DataError, match="none of 0 rows can be trained on: it is empty"):
        open_examples(tmp_path, tmp_path / "work")


@pytest.mark.parametrize("needs", NEEDS, ids=lambda needs: " ".join(sorted(needs)))
@pytest.mark.parametrize("seed", range(3))
def test_arrays_hold_what_loops_find(needs, seed):
    pairs = many(50, seed)
    assert everything(examples_of(pairs, needs=needs)) == loops(pairs, needs)


def loops(pairs: Pairs, needs: set[str]) -> dict[str, object]:
    """The same, one row and document after the other."""
    texts = {"q": pairs.query_texts(), "d": pairs.document_texts()}
    distinct = {side: list(dict.fromkeys(of.values())) for side, of in texts.items()}
    number = {name: distinct[side].index(text) for side, of in texts.items() for name, text in of.items()}
    known: dict[int, set[int]] = {i: set() for i in range(len(distinct["q"]))}
    suspects: dict[int, set[int]] = {i: set() for i in known}
    for row in pairs.rows:
        known[number[row.query_id]] |= {number[d] for d in (*row.positives, *row.known)}
        suspects[number[row.query_id]] |= {number[d] for d in row.suspects}
    suspects = {query: some - known[query] for query, some in suspects.items()}
    rows, skipped, taught = [], Counter(), {}
    for row in pairs.rows:
        query = number[row.query_id]
        scores = (*row.positive_targets, *row.negative_targets)
        whole = len(row.positive_targets) == len(row.positives) and len(row.negative_targets) == len(row.negatives)
        if not distinct["q"][query].strip():
            skipped["rows with an empty query"] += 1
        elif not row.positives:
            skipped["rows without a positive"] += 1
        elif "targets" in needs and not (whole and all(map(math.isfinite, scores))):
            skipped["rows without target scores"] += 1
        elif "negatives" in needs and not row.negatives:
            skipped["rows without negatives"] += 1
        else:
            positives, negatives = (
                once([number[d] for d in documents], targets)
                for documents, targets in ((row.positives, row.positive_targets), (row.negatives, row.negative_targets))
            )
            skipped["negatives known to be relevant"] += len(negatives.keys() & known[query])
            skipped["negatives that may be relevant"] += len(negatives.keys() & suspects[query])
            kept = {d: score for d, score in negatives.items() if d not in known[query] | suspects[query]}
            shown = tuple(positives), tuple(kept), tuple(positives.values()), tuple(kept.values())
            rows.append(Row(row.query_id, query, *shown))
            if "taught" in needs:
                taught[query] = negatives | positives | taught.get(query, {})
    of_queries, of_documents = classes(pairs, number, known) if "classes" in needs else ({}, {})
    return {
        "queries": distinct["q"],
        "documents": distinct["d"],
        "rows": rows,
        "known": [frozenset(known[i]) for i in sorted(known)],
        "skipped": dict(+skipped),
        "suspects": {query: some for query, some in suspects.items() if some},
        "taught": taught,
        "query_classes": of_queries,
        "document_classes": of_documents,
    }


def once(documents: list[int], targets: tuple[float, ...]) -> dict[int, float]:
    found: dict[int, float] = {}
    for i, document in enumerate(documents):
        found.setdefault(document, targets[i] if i < len(targets) else 0.0)
    return found


def classes(pairs: Pairs, number: dict[str, int], known: dict[int, set[int]]) -> tuple[dict[int, int], dict[int, int]]:
    labels = list(dict.fromkeys(label for label in (*pairs.queries.classes, *pairs.corpus.classes) if label))
    found: tuple[dict[int, int], dict[int, int]] = {}, {}
    for table, result in zip((pairs.queries, pairs.corpus), found, strict=True):
        for name, label in zip(table.ids, table.classes, strict=True):
            if label:
                result.setdefault(number[name], labels.index(label))
    for query in sorted(found[0]):
        for document in known[query]:
            found[1].setdefault(document, found[0][query])
    return found
