"""What is exported of a query: laws that hold for any pairs and every format."""

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.core.errors import DataError
from embedkit.core.pairs import Pair
from embedkit.exports import FORMATS, Triplet, export
from embedkit.exports.choice import choose, widths
from tests.exports.cases import DOCUMENTS, PAIRS, read, write_case

IDS = st.lists(st.sampled_from([f"d{i}" for i in range(DOCUMENTS)]), max_size=5, unique=True).map(tuple)
TEXTS = {f"{f'title {i} ' if i % 2 else ''}text of {i}, «é»": f"d{i}" for i in range(DOCUMENTS)}


@st.composite
def any_pairs(draw) -> tuple[Pair, ...]:
    lists = st.tuples(IDS, IDS, IDS, IDS)
    return tuple(
        Pair(f"q{i}", positives, known, negatives, suspects=suspects)
        for i, (positives, known, negatives, suspects) in enumerate(draw(st.lists(lists, min_size=1, max_size=4)))
    )


def exported(row: dict, kind: str) -> tuple[str, set[str]]:
    """A row's query and the ids of its negatives."""
    if kind == "tevatron":
        return row["query_id"], {passage["docid"] for passage in row["negative_passages"]}
    query = "q" + row["query"].removeprefix("question ").removesuffix("?")
    if kind == "labeled-pair":
        return query, {TEXTS[row["document"]]} if row["label"] == 0 else set()
    if kind == "labeled-list":
        return query, {TEXTS[text] for text, label in zip(row["documents"], row["labels"], strict=True) if not label}
    negatives = row.get("neg") or [text for name, text in row.items() if name.startswith("negative")]
    return query, {TEXTS[text] for text in negatives}


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=15, deadline=None)
@given(rows=any_pairs())
def test_every_negative_is_one_of_its_query_and_none_is_known_or_suspected(form, rows):
    possible = {r.query_id: {*r.negatives} - {*r.positives, *r.known, *r.suspects} for r in rows}
    some = [r for r in rows if r.positives and (possible[r.query_id] or form.lone_positives)]
    with tempfile.TemporaryDirectory() as place:
        folder, to = write_case(Path(place) / "mined", rows), Path(place) / "out.jsonl"
        if not some or (form.rectangular and not any(possible[r.query_id] for r in some)):
            with pytest.raises(DataError, match=r"nothing to export|no query has a negative"):
                export(folder, to, format=form())
            assert not to.exists()
            return
        export(folder, to, format=form())
        found: dict[str, set[str]] = {}
        for row in read(to):
            query, negatives = exported(row, form().kind)
            found.setdefault(query, set()).update(negatives)
    most = max(len(possible[r.query_id]) for r in some)
    expected = [r.query_id for r in some if not form.rectangular or len(possible[r.query_id]) == most]
    assert found == {query: possible[query] for query in expected}


def test_what_is_left_out_is_counted_by_reason():
    counts: Counter[str] = Counter()
    pair = Pair("q", ("a",), known=("a", "b"), negatives=("a", "b", "c", "d", "e"), suspects=("c",), fills=("e",))
    chosen = choose(pair, Triplet(), counts)
    assert chosen.negatives == (("d", None), ("e", None))
    assert counts == {"negatives known to be relevant": 2, "negatives that may be relevant": 1, "fills": 1}
    assert choose(pair, Triplet(fills=False), counts).negatives == (("d", None),)
    assert counts["negatives that a fill policy put there"] == 1
    assert choose(Pair("q", ("a",)), Triplet(), counts) is None
    assert choose(Pair("q", (), negatives=("a",)), Triplet(), counts) is None
    assert (counts["queries without a negative"], counts["queries without a positive"]) == (1, 1)


def test_the_first_negatives_are_kept_with_their_own_scores():
    pair = Pair("q", ("a",), negatives=("a", "b", "c", "d"), positive_scores=(9,), negative_scores=(1, 2, 3, 4))
    chosen = choose(pair, Triplet(negatives=2, scores="miner"), Counter())
    assert chosen.negatives == (("b", 2), ("c", 3))


def test_widths_count_all_negatives_that_may_be_exported():
    assert widths(PAIRS, Triplet()) == {3: 2, 2: 1, 0: 1}
    assert widths(PAIRS, Triplet(fills=False)) == {3: 2, 1: 1, 0: 1}


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (Pair("q", ("a",), negatives=("b",)), "query 'q' has 1 positives and 0 positive_targets; .* a `teach` stage"),
        (Pair("q", ("a",), negatives=("b",), positive_targets=(1,)), "1 negatives and 0 negative_targets"),
        (
            Pair("q", ("a",), negatives=("b",), positive_targets=(1,), negative_targets=(float("nan"),)),
            "query 'q' has a score that is no number",
        ),
    ],
)
def test_a_missing_score_is_an_error_never_a_made_up_one(pair, message):
    with pytest.raises(DataError, match=message):
        choose(pair, Triplet(scores="teacher"), Counter())
