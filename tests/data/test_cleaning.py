import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedkit.core.dataset import Dataset
from embedkit.core.errors import DataError
from embedkit.core.records import Corpus, Queries
from embedkit.core.text import normalised
from embedkit.data.cleaning import HoldOut, clean
from embedkit.measures.duplicates import NearDuplicates
from tests.oracles import jaccard_by_hand

LONG = " ".join(f"word{i}" for i in range(40))


def dataset(documents, queries, qrels) -> Dataset:
    return Dataset(
        Corpus(list(documents), [""] * len(documents), list(documents.values())),
        Queries(list(queries), list(queries.values())),
        qrels,
    )


def test_duplicate_documents_become_one_and_keep_their_judgements():
    documents = {"a": "Some text", "b": "some  TEXT", "c": LONG, "d": f"{LONG} more", "e": f"{LONG} MORE", "f": "other"}
    queries = {"q1": "one", "q2": "two", "q3": "three"}
    qrels = {"train": {"q1": {"b": 2, "a": 1}, "q2": {"d": 1, "f": 0}}, "test": {"q3": {"e": 1, "c": 0}}}
    result = clean(dataset(documents, queries, qrels))
    assert list(result.dataset.corpus.ids) == ["a", "c", "f"]
    assert result.dataset.qrels == {"train": {"q1": {"a": 2}, "q2": {"c": 1, "f": 0}}, "test": {"q3": {"c": 1}}}
    assert [(r.removed, r.kept, r.why) for r in result.merged] == [
        ("b", "a", "exact"), ("e", "c", "exact"), ("d", "c", "near"),
    ]  # fmt: skip


def test_each_kind_of_duplicate_can_be_left_alone():
    documents = {"a": "same", "b": "Same", "c": LONG, "d": f"{LONG} more"}
    qrels = {"train": {"q": {"a": 1}}}
    found = {
        (exact, near): list(clean(dataset(documents, {"q": "x"}, qrels), exact=exact, near=near).dataset.corpus.ids)
        for exact in (True, False) for near in (None, 0.9)
    }  # fmt: skip
    assert found == {
        (True, 0.9): ["a", "c"], (True, None): ["a", "c", "d"],
        (False, 0.9): ["a", "c"], (False, None): ["a", "b", "c", "d"],
    }  # fmt: skip


def test_duplicate_queries_of_a_split_become_the_first():
    queries = {"q1": "How?", "q2": "how?", "q3": "HOW?", "q4": "when"}
    qrels = {"train": {"q1": {"a": 1}, "q2": {"b": 2, "a": 0}, "q4": {"a": 1}}}
    result = clean(dataset({"a": "a", "b": "b"}, queries, qrels))
    assert result.dataset.qrels == {"train": {"q1": {"a": 1, "b": 2}, "q4": {"a": 1}}}
    assert list(result.dataset.queries.ids) == ["q1", "q4"]
    assert result.unjudged == 1


def test_a_query_is_in_one_split_only():
    """Test keeps its queries, dev gives way to test, train to both; near counts as well as equal."""
    queries = {
        "t": LONG, "d1": "dev query", "d2": f"{LONG} more", "n1": "Dev  Query", "n2": f"{LONG} last",
        "n3": "train query",
    }  # fmt: skip
    qrels = {
        "train": {"n1": {"a": 1}, "n2": {"a": 1}, "n3": {"a": 1}, "t": {"a": 1}},
        "dev": {"d1": {"a": 1}, "d2": {"a": 1}},
        "test": {"t": {"a": 1}},
    }
    result = clean(dataset({"a": "a"}, queries, qrels))
    assert {s: list(q) for s, q in result.dataset.qrels.items()} == {"train": ["n3"], "dev": ["d1"], "test": ["t"]}
    assert [(r.removed, r.split, r.kept, r.kept_split, r.why) for r in result.leaks] == [
        ("d2", "dev", "t", "test", "near"),
        ("n1", "train", "d1", "dev", "exact"),
        ("n2", "train", "t", "test", "near"),
        ("t", "train", "t", "test", "exact"),
    ]
    without = clean(dataset({"a": "a"}, queries, qrels), exact=False, near=None)
    assert [r.removed for r in without.leaks] == ["n1", "t"]


def many(count: int) -> Dataset:
    queries = {f"q{i}": f"query number {i}" for i in range(count)}
    return dataset({"a": "text"}, queries, {"train": {q: {"a": 1} for q in queries}})


def test_splits_are_held_out_of_train_by_query():
    spec = {"dev": HoldOut(share=0.1, seed=3), "test": HoldOut(share=0.2, seed=3)}
    splits = {s: set(q) for s, q in clean(many(100), hold_out=spec).dataset.qrels.items()}
    assert {s: len(q) for s, q in splits.items()} == {"train": 72, "dev": 8, "test": 20}
    assert len(set.union(*splits.values())) == 100
    again = clean(many(100), hold_out=spec).dataset.qrels
    assert {s: set(q) for s, q in again.items()} == splits
    other = clean(many(100), hold_out={"test": HoldOut(share=0.2, seed=4)}).dataset.qrels
    assert set(other["test"]) != splits["test"]


def test_a_split_that_exists_or_would_take_everything_is_not_held_out():
    source = dataset({"a": "a"}, {"q": "x", "r": "y"}, {"train": {"q": {"a": 1}}, "dev": {"r": {"a": 1}}})
    with pytest.raises(DataError, match="dev: the source has a dev split of its own"):
        clean(source, hold_out={"dev": HoldOut()})
    with pytest.raises(DataError, match="test: train has 1 queries; holding 1 out would leave none"):
        clean(source, hold_out={"test": HoldOut()})


TEXTS = st.lists(st.sampled_from("a b c d e f".split()), min_size=1, max_size=14).map(" ".join)


@given(
    st.lists(TEXTS, min_size=1, max_size=12),
    st.lists(st.tuples(st.sampled_from(["train", "dev", "test"]), TEXTS, st.integers(0, 11)), max_size=15),
    st.sampled_from([None, 0.5, 0.9]),
)
def test_laws_of_cleaning(documents, asked, near):
    qrels: dict = {}
    for i, (split, _, document) in enumerate(asked):
        qrels.setdefault(split, {})[f"q{i}"] = {f"d{document % len(documents)}": 1}
    source = dataset(
        {f"d{i}": text for i, text in enumerate(documents)},
        {f"q{i}": text for i, (_, text, _) in enumerate(asked)},
        qrels,
    )
    result = clean(source, near=near)
    cleaned = result.dataset
    texts = dict(zip(source.corpus.ids, source.corpus.texts, strict=True))
    gone = {r.removed: r for r in result.merged if r.role == "document"}
    assert set(cleaned.corpus.ids) | gone.keys() == set(source.corpus.ids)
    assert not set(cleaned.corpus.ids) & {*gone}
    assert {r.kept for r in gone.values()} <= set(cleaned.corpus.ids)
    kept_texts = [normalised(texts[d]) for d in cleaned.corpus.ids]
    assert len(set(kept_texts)) == len(kept_texts)
    for row in gone.values():
        assert jaccard_by_hand(texts[row.removed].split(), texts[row.kept].split(), 3) >= (near or 1) - 1e-9
    asked_texts = dict(zip(source.queries.ids, source.queries.texts, strict=True))
    seen: dict[str, str] = {}
    for split, judged in cleaned.qrels.items():
        for query, judgements in judged.items():
            assert judgements.keys() <= set(cleaned.corpus.ids)
            assert seen.setdefault(normalised(asked_texts[query]), split) == split
    assert {q for judged in cleaned.qrels.values() for q in judged} == set(cleaned.queries.ids)
    assert clean(cleaned, near=near).dataset == cleaned


@given(st.lists(TEXTS, min_size=1, max_size=12), st.sampled_from([0.5, 0.9]))
def test_near_documents_are_those_that_one_pass_over_all_of_them_finds(documents, near):
    """Cleaning looks only at documents that share a band of their sketch with another."""
    source = dataset({f"d{i}": text for i, text in enumerate(documents)}, {"q": "x"}, {"train": {"q": {"d0": 1}}})
    index, expected = NearDuplicates(near), {}
    for i, text in enumerate(documents):
        sketch = index.sketch(text)
        if match := index.match(sketch):
            expected[f"d{i}"] = f"d{match.key}"
        else:
            index.add(i, sketch)
    assert {r.removed: r.kept for r in clean(source, exact=False, near=near).merged} == expected
