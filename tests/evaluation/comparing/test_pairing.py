from dataclasses import replace

import numpy as np
import pytest

from embedkit.core.errors import DataError
from embedkit.core.scores import Items, TaskScores
from embedkit.evaluation.comparing.pairing import pair
from embedkit.evaluation.comparing.systems import Reached
from tests.evaluation.comparing.folders import queries, ranking, similarity, system, three

BASE, BETTER, _ = three()


def test_queries_are_aligned_by_id_whatever_the_order_of_rows():
    rows = queries(0.1, seed=3)
    turned = system("turned", SciFact=ranking(dict(reversed(rows.items()))))
    (found,) = pair(BASE, turned, "main").tasks
    assert found.ids == sorted(rows)
    assert found.candidate.tolist() == [rows[q]["ndcg@10"] for q in found.ids]
    assert found.base.tolist() == [BASE.tasks["SciFact"].per_query[q]["ndcg@10"] for q in found.ids]
    assert (found.metric, found.statistic, found.unit) == ("ndcg@10", "mean", "queries")


def test_items_are_aligned_by_id():
    one, other = similarity(1.0), similarity(2.0)
    order = np.random.default_rng(0).permutation(60)
    items = Items([other.items.ids[i] for i in order], other.items.predictions[order], other.items.targets[order])
    (found,) = pair(system("a", STS=one), system("b", STS=replace(other, items=items)), "main").tasks
    places = [int(i) for i in found.ids]
    assert found.targets.tolist() == one.items.targets[places].tolist()
    assert found.candidate.tolist() == other.items.predictions[places].tolist()
    assert (found.statistic, found.unit) == ("spearman", "items")


def test_another_metric_of_items_is_known_as_a_whole_only():
    sides = system("a", STS=similarity(1.0)), system("b", STS=similarity(2.0))
    with pytest.raises(DataError, match="cosine_pearson of a is known as a whole only: there is nothing to resample"):
        pair(*sides, "cosine_pearson")
    with pytest.raises(DataError, match=r"a and b lack it; both have cosine_pearson, cosine_spearman"):
        pair(*sides, "manhattan_pearson")


def test_only_queries_both_have_are_compared_and_it_is_said():
    fewer = system("fewer", SciFact=ranking(dict(list(queries().items())[:50])))
    found = pair(BASE, fewer, "main")
    assert len(found.tasks[0].ids) == 50
    assert found.gaps == ["SciFact: compared on 50 queries; 10 more of base have no score of fewer"]
    other = pair(fewer, BASE, "main")
    assert (other.gaps, list(other.notes)) == ([], found.gaps)


def test_tasks_of_a_group_that_share_some_queries_are_told():
    rows = queries()
    some = {f"G:{i}": ranking(dict(list(rows.items())[:n]), group="G") for i, n in enumerate((60, 60, 59))}
    sides = [system(name, **some) for name in "ab"]
    (note,) = pair(*sides, "main").notes
    assert note.startswith("G: its tasks share some queries, but not all")
    assert pair(*sides, "main", ["G:0", "G:1"]).notes == []


def test_tasks_of_one_side_are_left_out_and_it_is_said():
    more = system("more", SciFact=ranking(queries()), STS=similarity(1.0))
    assert pair(BASE, more, "main").notes == ["STS: base was not scored on it"]
    assert pair(BASE, more, "main").gaps == []
    assert pair(more, BASE, "main").gaps == ["STS: base was not scored on it"]


def test_tasks_are_chosen_by_name_or_group():
    parts = {f"STS22:{part}": similarity(1.0, group="STS22") for part in ("en", "de")}
    a, b = (system(name, **parts, SciFact=ranking(queries())) for name in "ab")
    assert [p.task for p in pair(a, b, "main", ["STS22"]).tasks] == ["STS22:en", "STS22:de"]
    assert [p.task for p in pair(a, b, "main", ["STS22:de", "SciFact"]).tasks] == ["STS22:de", "SciFact"]
    with pytest.raises(DataError, match="task 'SciFcat' is unknown; did you mean 'SciFact'"):
        pair(a, b, "main", ["SciFcat"])


def test_a_metric_that_one_task_lacks_leaves_that_task_out():
    a, b = (system(name, SciFact=ranking(queries()), STS=similarity(1.0)) for name in "ab")
    found = pair(a, b, "ndcg@10")
    assert [p.task for p in found.tasks] == ["SciFact"]
    assert found.notes == ["STS: left out, a and b have no ndcg@10 on it"]
    assert found.gaps == []


def test_what_is_known_as_a_whole_only_is_left_out():
    whole = Reached(TaskScores({"p_mrr": 0.3}, 60, "p_mrr", "", "other"))
    a, b = (system(name, SciFact=ranking(queries()), Instructed=whole) for name in "ab")
    assert pair(a, b, "main").notes == [
        "Instructed: left out, p_mrr of a is known as a whole only: there is nothing to resample"
    ]
    with pytest.raises(DataError, match=r"nothing to compare b and a by\. Instructed: left out"):
        pair(a, b, "main", ["Instructed"])


def test_what_the_candidate_alone_has_not_one_by_one_is_a_gap():
    a = system("a", SciFact=ranking(queries()), STS=similarity(1.0))
    b = system("b", SciFact=ranking(queries()), STS=replace(similarity(1.0), items=None))
    assert pair(a, b, "main").gaps == [
        "STS: left out, cosine_spearman of b is known as a whole only: there is nothing to resample"
    ]
    assert pair(b, a, "main").gaps == []


def test_few_queries_that_differ_are_told():
    rows = {query: dict(row) for query, row in queries().items()}
    for query in ("q3", "q4", "q5"):
        rows[query]["ndcg@10"] += 0.1
    sides = system("a", SciFact=ranking(queries())), system("b", SciFact=ranking(rows))
    assert pair(*sides, "main").notes == ["SciFact: 3 of 60 queries differ; its interval is a guess"]
    assert pair(sides[0], sides[0], "main").notes == []


def test_few_queries_are_told():
    few = [system(name, SciFact=ranking(queries(n=12, seed=ord(name)))) for name in "ab"]
    assert pair(*few, "main").notes == ["SciFact: 12 queries are few; its interval is rather too narrow"]


@pytest.mark.parametrize(
    ("other", "metric", "message"),
    [
        (
            system("x", NFCorpus=ranking(queries())),
            "main",
            "x and base have no task in common: NFCorpus against SciFact",
        ),
        (system("x", SciFact=ranking(queries(), revision="r2")), "main", "on revision r1 of its data, x on r2"),
        (system("x", SciFact=ranking(queries(), main="mrr@10")), "main", "of base is ndcg@10, of x mrr@10; say which"),
        (BETTER, "ndgc@10", "base and better lack it; both have mrr@10, ndcg@10; did you mean 'ndcg@10'"),
        (BETTER, "ndcg_at_10", "did you mean 'ndcg@10'"),
        (system("x", SciFact=ranking(queries(metric="map@100"))), "ndcg@10", "x lacks it; both have mrr@10"),
        (
            system("x", SciFact=ranking({f"other-{q}": row for q, row in queries().items()})),
            "main",
            "SciFact: the two have no query in common",
        ),
    ],
)
def test_what_would_mislead_is_an_error(other, metric, message):
    with pytest.raises(DataError, match=message):
        pair(BASE, other, metric)


def test_an_unknown_revision_is_not_another_one():
    assert pair(BASE, system("x", SciFact=ranking(queries(), revision="")), "main").tasks


def test_other_truths_of_the_same_items_are_other_data():
    one = similarity(1.0)
    changed = replace(one, items=Items(one.items.ids, one.items.predictions, one.items.targets + 1))
    with pytest.raises(DataError, match="STS: what is true of its items differs"):
        pair(system("a", STS=one), system("b", STS=changed), "main")
