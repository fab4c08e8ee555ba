"""Scores without touched queries, against means taken by hand."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from embedkit.core.errors import DataError
from embedkit.core.scores import Items, ModelScores, TaskScores, write_items, write_per_query, write_scores
from embedkit.evaluation.contamination.rescoring import rescore


@pytest.fixture
def scores(tmp_path):
    rng = np.random.default_rng(0)
    items = Items([str(i) for i in range(20)], rng.random(20), rng.random(20))
    sts = TaskScores({"cosine_spearman": 0.0}, 20, main="cosine_spearman", statistic="spearman", type="STS")
    models = [
        ModelScores("a" * 64, {"pages": TaskScores({"ndcg@10": 0.5}, 4), "sts": sts}),
        ModelScores("b" * 64, {"pages": TaskScores({"ndcg@10": 0.5}, 4)}),
    ]
    write_scores(tmp_path, models)
    values = {
        ("a" * 64, "pages"): {q: {"ndcg@10": v, "mrr@10": v / 2} for q, v in zip("pqrs", (1, 0.5, 0, 1), strict=True)},
        ("b" * 64, "pages"): {q: {"ndcg@10": v} for q, v in zip("pqrs", (0, 0, 1, 1), strict=True)},
    }
    write_per_query(tmp_path, values)
    write_items(tmp_path, {("a" * 64, "sts"): items})
    return tmp_path, items


def test_means_are_of_the_queries_that_are_left(scores):
    first, second = rescore(scores[0], {"pages": ["p", "s", "unknown"]})
    assert (first.model, first.task, first.queries, first.left) == ("a" * 64, "pages", 4, 2)
    assert first.all == {"ndcg@10": 0.625, "mrr@10": 0.3125}
    assert first.unseen == {"ndcg@10": 0.25, "mrr@10": 0.125}
    assert second.unseen == {"ndcg@10": 0.5}


def test_a_correlation_is_that_of_the_items_that_are_left(scores):
    folder, items = scores
    (found,) = rescore(folder, {"sts": ["0", "7"]})
    left = [i for i in range(20) if i not in (0, 7)]
    assert found.all["cosine_spearman"] == pytest.approx(spearmanr(items.predictions, items.targets)[0])
    expected = spearmanr(items.predictions[left], items.targets[left])[0]
    assert found.unseen["cosine_spearman"] == pytest.approx(expected)
    assert (found.queries, found.left) == (20, 18)


def test_a_task_that_is_seen_as_a_whole_has_no_score(scores):
    found = rescore(scores[0], {"pages": "pqrs", "sts": [str(i) for i in range(20)]})
    assert [row.unseen for row in found] == [
        {"ndcg@10": None, "mrr@10": None},
        {"cosine_spearman": None},
        {"ndcg@10": None},
    ]


def test_a_task_without_scores_is_a_mistake(scores):
    with pytest.raises(DataError, match=r"of 'page'; it has \['pages', 'sts'\]; did you mean 'pages'\?"):
        rescore(scores[0], {"page": ["p"]})
