import pytest

from embedkit.core.errors import ArtifactError, StageError
from embedkit.measures.significance import paired_bootstrap
from embedkit.report.comparison import Bootstrap, best_of, compare
from embedkit.report.scoreboard import Question, board, check, headlines, metrics_of

HOW = Bootstrap(samples=500, confidence=0.9, seed=3)
BASE, SOUP, PLAIN, PLAIN4 = "b" * 64, "c" * 64, "d" * 64, "e" * 64
NAMES = {BASE: "base", SOUP: "soup", PLAIN: "plain", PLAIN4: "plain4"}
QUESTION = Question(BASE, SOUP, (PLAIN, PLAIN4), "ndcg@10")


def scores(**lists):
    """Values of one task from lists of nDCG."""
    keys = {name: key for key, name in NAMES.items()}
    return {
        (keys[name], "t"): {f"q{i}": {"ndcg@10": v, "mrr@10": 1 - v} for i, v in enumerate(values)}
        for name, values in lists.items()
    }


VALUES = scores(
    base=[0.1, 0.2, 0.3, 0.4], plain=[0.3, 0.3, 0.4, 0.6], plain4=[0.2, 0.6, 0.5, 0.9], soup=[0.5, 0.4, 0.6, 0.7]
)


def test_a_comparison_is_the_paired_bootstrap_of_its_queries():
    found = compare(VALUES, SOUP, BASE, task="t", metric="ndcg@10", how=HOW)
    assert found.interval == paired_bootstrap(
        [0.5, 0.4, 0.6, 0.7], [0.1, 0.2, 0.3, 0.4], samples=500, confidence=0.9, seed=3
    )
    assert (found.value, found.reference_value, found.queries) == (pytest.approx(0.55), pytest.approx(0.25), 4)
    assert found.interval.difference == pytest.approx(0.3)
    assert found.verdict == "higher"


def test_the_order_of_queries_does_not_move_an_interval():
    turned = {pair: dict(reversed(rows.items())) for pair, rows in VALUES.items()}
    pair = {"task": "t", "metric": "ndcg@10", "how": HOW}
    assert compare(VALUES, SOUP, PLAIN4, **pair) == compare(turned, SOUP, PLAIN4, **pair)


def test_verdicts_are_what_the_interval_says():
    pair = {"task": "t", "metric": "ndcg@10", "how": HOW}
    assert compare(VALUES, BASE, SOUP, **pair).verdict == "lower"
    assert compare(VALUES, SOUP, SOUP, **pair).verdict == "unclear"


def test_models_scored_on_other_queries_cannot_be_compared():
    values = {**VALUES, (BASE, "t"): {"q0": {"ndcg@10": 1.0}}}
    with pytest.raises(ArtifactError, match="query 'q1' was scored for one of"):
        compare(values, SOUP, BASE, task="t", metric="ndcg@10", how=HOW)


def test_the_best_peer_is_the_one_with_the_highest_mean():
    assert best_of(VALUES, [PLAIN, PLAIN4], task="t", metric="ndcg@10") == PLAIN4
    assert best_of(VALUES, [PLAIN, PLAIN4], task="t", metric="mrr@10") == PLAIN


def test_headlines_name_the_better_peer_and_say_so_plainly():
    first, second = headlines(VALUES, "t", QUESTION, NAMES, HOW)
    assert (first.title, first.choice) == ("soup against base", "")
    assert first.meaning == "The interval excludes zero: soup ranks better than base on these queries."
    assert "+0.300" in first.figures
    assert "0.550 against 0.250" in first.figures
    assert second.title == "soup against plain4"
    assert second.meaning == "The interval includes zero: these queries do not tell soup and plain4 apart."
    assert second.choice.startswith(
        "plain4 is the better of plain 0.400 and plain4 0.550, chosen on these same queries"
    )


def test_a_loss_is_called_a_loss():
    worse = Question(SOUP, BASE, (), "ndcg@10")
    (only,) = headlines(VALUES, "t", worse, NAMES, HOW)
    assert "base ranks worse than soup" in only.meaning
    assert "−0.300" in only.figures


def test_the_board_has_the_deciding_metric_first_and_marks_the_best():
    found = board(VALUES, "t", Question(BASE, SOUP, (PLAIN,), "mrr@10"), HOW)
    assert list(found.metrics) == ["mrr@10", "ndcg@10"]
    assert [row.role for row in found.rows] == ["baseline", "peer", "", "candidate"]
    best = {metric: [NAMES[row.model] for row in found.rows if row.cells[metric].best] for metric in found.metrics}
    assert best == {"mrr@10": ["base"], "ndcg@10": ["plain4", "soup"]}
    assert [row.cells["mrr@10"].against_baseline is None for row in found.rows] == [True, False, False, False]


def test_a_model_that_was_not_evaluated_is_an_error_that_names_it():
    values = scores(base=[0.1], soup=[0.2])
    with pytest.raises(StageError, match=r"peers\[0\]: 'plain' was not evaluated; scores has \['base', 'soup'\]"):
        check(values, QUESTION, NAMES)


def test_a_metric_that_was_not_measured_is_an_error_that_lists_what_was():
    with pytest.raises(StageError, match=r"scores has no 'map@100'; it has \['ndcg@10', 'mrr@10'\]"):
        check(VALUES, Question(BASE, SOUP, (), "map@100"), NAMES)


def test_metrics_keep_the_order_they_were_asked_for_in():
    assert metrics_of(VALUES) == ["ndcg@10", "mrr@10"]
