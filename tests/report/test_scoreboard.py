import numpy as np
import pytest
from scipy.stats import spearmanr

from embedkit.core.errors import ArtifactError, StageError
from embedkit.core.scores import Items, TaskScores
from embedkit.measures import statistics
from embedkit.measures.significance import paired_bootstrap
from embedkit.report.comparison import Bootstrap, Evidence, best_of, compare
from embedkit.report.scoreboard import Question, board, check, headlines

HOW = Bootstrap(samples=500, confidence=0.9, seed=3)
BASE, SOUP, PLAIN, PLAIN4 = "b" * 64, "c" * 64, "d" * 64, "e" * 64
NAMES = {BASE: "base", SOUP: "soup", PLAIN: "plain", PLAIN4: "plain4"}
QUESTION = Question(BASE, SOUP, (PLAIN, PLAIN4), "ndcg@10")


def evidence(units, **changes):
    """A scores artifact with these values of queries, and their means."""
    means = {
        place: {m: sum(row[m] for row in rows.values()) / len(rows) for m in next(iter(rows.values()))}
        for place, rows in units.items()
    }
    scores = {place: TaskScores(means[place], len(rows), **changes) for place, rows in units.items()}
    return Evidence(scores, units, {})


def scores(**lists):
    """One task from lists of nDCG."""
    keys = {name: key for key, name in NAMES.items()}
    return evidence(
        {
            (keys[name], "t"): {f"q{i}": {"ndcg@10": v, "mrr@10": 1 - v} for i, v in enumerate(values)}
            for name, values in lists.items()
        }
    )


VALUES = scores(
    base=[0.1, 0.2, 0.3, 0.4], plain=[0.3, 0.3, 0.4, 0.6], plain4=[0.2, 0.6, 0.5, 0.9], soup=[0.5, 0.4, 0.6, 0.7]
)


def test_a_comparison_is_the_paired_bootstrap_of_its_queries():
    found = compare(VALUES, SOUP, BASE, task="t", metric="ndcg@10", how=HOW)
    assert found.interval == paired_bootstrap(
        [0.5, 0.4, 0.6, 0.7], [0.1, 0.2, 0.3, 0.4], samples=500, confidence=0.9, seed=3
    )
    assert (found.value, found.reference_value, found.queries) == (pytest.approx(0.55), pytest.approx(0.25), 4)
    assert found.difference == found.interval.difference == pytest.approx(0.3)
    assert found.verdict == "higher"


def test_the_order_of_queries_does_not_move_an_interval():
    turned = evidence({pair: dict(reversed(rows.items())) for pair, rows in VALUES.units.items()})
    pair = {"task": "t", "metric": "ndcg@10", "how": HOW}
    assert compare(VALUES, SOUP, PLAIN4, **pair).interval == compare(turned, SOUP, PLAIN4, **pair).interval


def test_verdicts_are_what_the_interval_says():
    pair = {"task": "t", "metric": "ndcg@10", "how": HOW}
    assert compare(VALUES, BASE, SOUP, **pair).verdict == "lower"
    assert compare(VALUES, SOUP, SOUP, **pair).verdict == "unclear"


def test_models_scored_on_other_queries_cannot_be_compared():
    values = evidence({**VALUES.units, (BASE, "t"): {"q0": {"ndcg@10": 1.0, "mrr@10": 1.0}}})
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


def test_metrics_keep_the_order_they_were_asked_for_in_after_the_main_one():
    assert VALUES.metrics("t") == ["ndcg@10", "mrr@10"]
    assert evidence(VALUES.units, main="mrr@10").metrics("t") == ["mrr@10", "ndcg@10"]


# tasks of other kinds

TARGETS = np.linspace(0, 5, 60)


def mixed() -> Evidence:
    """A search, a similarity task, a clustering of which only the score is known; the peer lacks the similarity."""
    found = scores(base=[0.1, 0.2, 0.3, 0.4], soup=[0.5, 0.4, 0.6, 0.7], plain=[0.3, 0.3, 0.4, 0.6])
    task_scores, items = dict(found.scores), {}
    for seed, (key, noise) in enumerate({BASE: 3.0, SOUP: 0.5}.items()):
        predictions = TARGETS + np.random.default_rng(seed).normal(0, noise, 60)
        items[key, "sts"] = Items([str(i) for i in range(60)], predictions, TARGETS)
        value = statistics.value("spearman", predictions, TARGETS)
        task_scores[key, "sts"] = TaskScores(
            {"cosine_spearman": value}, 60, "cosine_spearman", statistic="spearman", type="STS"
        )
    for key, value in {BASE: 0.3, SOUP: 0.4, PLAIN: 0.35}.items():
        task_scores[key, "clusters"] = TaskScores({"v_measure": value}, 0, "v_measure", "", "other", "Clustering")
    task_scores[SOUP, "failed"] = TaskScores({}, 0)
    return Evidence(task_scores, found.units, items)


MIXED = Question(BASE, SOUP, (PLAIN,))


def test_each_task_is_decided_by_its_own_metric():
    found = mixed()
    assert check(found, MIXED, NAMES) == ["t", "sts", "clusters"]
    assert [MIXED.decides(found, task) for task in found.tasks] == ["ndcg@10", "cosine_spearman", "v_measure", None]
    asked = Question(BASE, SOUP, (PLAIN,), "mrr@10")
    assert [asked.decides(found, task) for task in found.tasks] == ["mrr@10", "cosine_spearman", "v_measure", None]


def test_a_statistic_of_items_has_the_bootstrap_of_its_items():
    found, how = mixed(), Bootstrap(samples=400)
    one = compare(found, SOUP, BASE, task="sts", metric="cosine_spearman", how=how)
    assert one.verdict == "higher"
    assert one.value == pytest.approx(spearmanr(found.items[SOUP, "sts"].predictions, TARGETS).statistic)
    assert one.interval.difference == pytest.approx(one.difference)
    drawn = np.random.default_rng(0).integers(0, 60, (400, 60))
    sides = [found.items[key, "sts"].predictions for key in (SOUP, BASE)]
    slow = [np.subtract(*(spearmanr(side[row], TARGETS[row]).statistic for side in sides)) for row in drawn]
    assert (one.interval.low, one.interval.high) == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.02)


def test_a_score_known_as_a_whole_only_has_no_interval_and_says_so():
    (line, peer) = headlines(mixed(), "clusters", MIXED, NAMES, HOW)
    assert (line.comparison.interval, line.comparison.verdict) == (None, "untested")
    assert line.figures == "v_measure 0.400 against 0.300: +0.100.".replace("v_measure", "V-measure")
    assert line.meaning.startswith("There is no interval")
    assert peer.title == "soup against plain"


def test_a_peer_without_the_task_is_not_asked():
    assert [line.title for line in headlines(mixed(), "sts", MIXED, NAMES, HOW)] == ["soup against base"]
    found = board(mixed(), "sts", MIXED, HOW)
    assert (found.units, found.queries, list(found.without)) == ("pairs", 60, [PLAIN])
    assert "scores higher than base on these pairs" in headlines(mixed(), "sts", MIXED, NAMES, HOW)[0].meaning


def test_a_candidate_without_the_task_has_no_headline():
    assert headlines(mixed(), "sts", Question(BASE, PLAIN, ()), NAMES, HOW) == []


def test_the_values_shown_are_those_of_the_file():
    found = mixed()
    for task in ("t", "sts", "clusters"):
        for row in board(found, task, MIXED, HOW).rows:
            for metric, cell in row.cells.items():
                assert cell.value == found.scores[row.model, task].metrics[metric]


def test_a_metric_that_a_model_lacks_leaves_its_cell_empty():
    units = {place: dict(rows) for place, rows in VALUES.units.items()}
    units[PLAIN, "t"] = {q: {"ndcg@10": row["ndcg@10"]} for q, row in units[PLAIN, "t"].items()}
    rows = {row.model: row for row in board(evidence(units), "t", QUESTION, HOW).rows}
    assert rows[PLAIN].cells["mrr@10"] is None
    assert rows[SOUP].cells["mrr@10"].against_baseline.interval is not None


def test_items_with_another_truth_cannot_be_compared():
    found = mixed()
    items = found.items[BASE, "sts"]
    found.items[BASE, "sts"] = Items(items.ids, items.predictions, items.targets[::-1])
    with pytest.raises(ArtifactError, match="what is true of its items differs"):
        compare(found, SOUP, BASE, task="sts", metric="cosine_spearman", how=HOW)


def test_predictions_that_are_all_equal_have_no_interval():
    found = mixed()
    found.items[BASE, "sts"] = Items(found.items[BASE, "sts"].ids, np.zeros(60), TARGETS)
    assert compare(found, SOUP, BASE, task="sts", metric="cosine_spearman", how=HOW).interval is None
