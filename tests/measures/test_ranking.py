import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedkit.core.errors import RecipeError
from embedkit.measures.ranking import FAMILIES, mean_scores, parse_metric, per_query
from tests import oracles

DOCS = [f"d{i}" for i in range(8)]
runs = st.dictionaries(
    st.sampled_from(DOCS), st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0]), min_size=1
)  # ties are common
judgements = st.dictionaries(st.sampled_from(DOCS), st.integers(-1, 3), min_size=1)


@given(runs, judgements, st.integers(1, 9))
def test_every_metric_equals_its_definition_ties_included(scores, relevances, k):
    metrics = [f"{family}@{k}" for family in FAMILIES]
    found = per_query({"q": scores}, {"q": relevances}, metrics)["q"]
    relevant = {doc for doc, relevance in relevances.items() if relevance > 0}
    hits = len([doc for doc in oracles.ranked_by_hand(scores)[:k] if doc in relevant])
    assert found == pytest.approx(
        {
            f"ndcg@{k}": oracles.ndcg_by_hand(scores, relevances, k),
            f"map@{k}": oracles.average_precision_by_hand(scores, relevances, k),
            f"recall@{k}": oracles.recall_by_hand(scores, relevances, k),
            f"precision@{k}": hits / k,
            f"mrr@{k}": oracles.mrr_by_hand(scores, relevances, k),
        },
        abs=1e-9,
    )


def test_graded_ndcg_by_hand():
    found = per_query({"q": {"a": 3.0, "b": 2.0, "c": 1.0}}, {"q": {"a": 1, "c": 2}}, ["ndcg@3"])
    assert found["q"]["ndcg@3"] == pytest.approx((1 + 2 / 2) / (2 + 1 / 1.5849625007))


def test_a_tie_goes_to_the_greater_id():
    found = per_query({"q": {"a": 1.0, "b": 1.0}}, {"q": {"a": 1}}, ["mrr@1", "mrr@2", "ndcg@1"])
    assert found["q"] == {"mrr@1": 0.0, "mrr@2": 0.5, "ndcg@1": 0.0}


def test_every_judged_query_counts_and_no_other():
    run = {"found": {"a": 1.0}, "irrelevant": {"a": 1.0}, "unjudged": {"a": 1.0}, "stranger": {"a": 1.0}, "empty": {}}
    qrels = {"missing": {"a": 1}, "found": {"a": 1}, "irrelevant": {"a": 0}, "unjudged": {}, "empty": {"a": 1}}
    found = per_query(run, qrels, ["ndcg@10", "mrr@10"])
    assert list(found) == ["missing", "found", "irrelevant", "empty"]
    assert {query: values["ndcg@10"] for query, values in found.items()} == {
        "missing": 0.0,
        "found": 1.0,
        "irrelevant": 0.0,
        "empty": 0.0,
    }
    assert mean_scores(found) == {"ndcg@10": 0.25, "mrr@10": 0.25}


def test_nothing_gives_nothing():
    assert per_query({}, {}, ["ndcg@10"]) == {}
    assert mean_scores({}) == {}
    assert per_query({}, {"q": {"a": 1}}, ["ndcg@10"]) == {"q": {"ndcg@10": 0.0}}


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ndcg", "did you mean 'ndcg@10'"),
        ("NDCG@10", "did you mean 'ndcg@10'"),
        ("ndgc@5", "did you mean 'ndcg@5'"),
        ("recall_at_100", "did you mean 'recall@100'"),
        ("ndcg@0", "did you mean 'ndcg@10'"),
        ("ndcg@-1", "did you mean 'ndcg@10'"),
        ("accuracy@10", "There are ndcg@k, map@k"),
    ],
)
def test_an_unknown_metric_is_told(name, hint):
    with pytest.raises(RecipeError, match=hint) as error:
        per_query({"q": {"a": 1.0}}, {"q": {"a": 1}}, [name])
    assert repr(name) in str(error.value)


def test_metric_names():
    assert [parse_metric(f"{family}@100") for family in FAMILIES] == [(family, 100) for family in FAMILIES]
