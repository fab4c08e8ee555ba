"""Who stands where on a leaderboard."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, spearmanr

from embedkit.core.entry import Entry
from embedkit.core.errors import RecipeError
from embedkit.core.scores import Items, TaskScores
from embedkit.report.comparison import Bootstrap
from embedkit.report.standings import facts, standings
from tests.report.entries import N, entry, retrieval

HOW = Bootstrap(samples=600)
BASE, TUNED, SOUP = entry("base", 0.5, seed=1), entry("tuned", 0.6, seed=2), entry("soup", 0.601, seed=3)


def by_name(found):
    return {line.label: line for line in found.lines}


def test_models_that_are_not_told_apart_share_a_rank():
    found = standings([BASE, TUNED, SOUP], how=HOW)
    lines = by_name(found)
    assert {name: line.rank for name, line in lines.items()} == {"base": 3, "tuned": 1, "soup": 1}
    assert set(lines["base"].better) == {"tuned", "soup"}
    assert lines["soup"].better == []
    assert found.pairs == 3
    assert {name: line.cells[0].top for name, line in lines.items()} == {"base": False, "tuned": True, "soup": True}


def test_scores_are_those_of_the_files_best_mean_first():
    found = standings([BASE, TUNED, SOUP], how=HOW)
    for line in found.lines:
        assert line.cells[0].score.value == line.entry.tasks["SciFact"].metrics["ndcg@10"]
    means = [line.by_task.value for line in found.lines]
    assert means == sorted(means, reverse=True)


def test_intervals_are_of_the_mean_of_the_queries():
    line = by_name(standings([BASE, TUNED], how=Bootstrap(samples=4000)))["base"]
    values = np.array([row["ndcg@10"] for row in BASE.units["SciFact"].values()])
    half = 1.976 * values.std(ddof=1) / np.sqrt(N)  # Student's t
    cell = line.cells[0].score
    assert (cell.low, cell.high) == pytest.approx((cell.value - half, cell.value + half), abs=half / 10)
    assert (line.by_task.low, line.by_task.high) == pytest.approx((cell.low, cell.high))


def test_the_order_of_folders_tasks_and_rows_moves_nothing():
    def turned(one: Entry) -> Entry:
        units = {task: dict(reversed(rows.items())) for task, rows in one.units.items()}
        items = {t: Items(i.ids[::-1], i.predictions[::-1], i.targets[::-1]) for t, i in one.items.items()}
        return replace(one, tasks=dict(reversed(one.tasks.items())), units=units, items=items)

    both = [entry("a", 0.5, seed=1, noise=1.0), entry("b", 0.6, seed=2, noise=2.0)]
    first, second = (facts(standings(these, how=HOW)) for these in (both, [turned(one) for one in reversed(both)]))
    assert rounded(first) == rounded(second)


def rounded(value):
    """Sums in another order differ in their last digits."""
    return json.loads(json.dumps(value), parse_float=lambda text: round(float(text), 9))


def test_means_by_task_and_by_type():
    def scored(name: str, values: dict[str, float]) -> Entry:
        kinds = {"SciFact": "Retrieval", "NFCorpus": "Retrieval", "STS12": "STS"}
        return Entry(name, "r", {t: TaskScores({"m": v}, 0, "m", "", "other", kinds[t]) for t, v in values.items()})

    (line,) = standings([scored("a", {"SciFact": 0.6, "NFCorpus": 0.2, "STS12": 0.8})], how=HOW).lines
    assert line.by_task.value == pytest.approx((0.6 + 0.2 + 0.8) / 3)
    assert line.by_type.value == pytest.approx(((0.6 + 0.2) / 2 + 0.8) / 2)
    assert (line.by_task.low, line.rank) == (None, None)


def test_a_task_of_several_subsets_counts_once():
    def scored(name: str, shift: float) -> Entry:
        tasks = {
            f"STS22:{s}": TaskScores({"m": v + shift}, 0, "m", "STS22", "other", "STS") for s, v in SUBSETS.items()
        }
        return Entry(name, "r", {**tasks, "STS12": TaskScores({"m": 0.9}, 0, "m", "", "other", "STS")})

    found = standings([scored("a", 0.0), scored("b", 0.01)], how=HOW)
    assert [column.task for column in found.columns] == ["STS12", "STS22"]
    line = by_name(found)["a"]
    assert [cell.score.value for cell in line.cells] == pytest.approx([0.9, 0.6])
    assert line.by_task.value == pytest.approx(0.75)


SUBSETS = {"en": 0.7, "de": 0.5}


def test_tasks_of_a_group_count_once_though_each_has_its_own_data():
    def scored(name: str, shift: float, **revisions: str) -> Entry:
        def task(value: float, group: str, revision: str) -> TaskScores:
            return TaskScores({"m": value + shift}, 5, "m", group, "other", "Retrieval", revision)

        parts = {part: task(v, "CQA", revisions.get(part, part)) for part, v in {"Gaming": 0.2, "Unix": 0.4}.items()}
        return Entry(name, "r", {**parts, "SciFact": task(0.9, "", "s")})

    found = standings([scored("a", 0.0), scored("b", 0.01)], how=HOW)
    group, single = found.columns
    assert (group.task, group.parts, group.revisions, group.revision) == (
        "CQA", ("Gaming", "Unix"), ("Gaming", "Unix"), ""
    )  # fmt: skip
    assert (single.task, list(found.units)) == ("SciFact", [10, 5])
    assert by_name(found)["a"].by_task.value == pytest.approx((0.3 + 0.9) / 2)
    other = standings([scored("a", 0.0), scored("b", 0.01, Unix="v2")], how=HOW)
    assert [(column.task, column.revision) for column in other.columns] == [
        ("CQA", ""),
        ("SciFact", "s"),
        ("Unix", "v2"),
    ]
    assert [cell is None for cell in by_name(other)["b"].cells] == [True, False, False]


def test_subsets_with_the_same_queries_are_drawn_together():
    """Drawn independently, 90 % intervals of the difference held the true one in 56 of 100."""
    rng, trials, told, inside = np.random.default_rng(1), 200, 0, 0
    for seed in range(trials):
        alike = rng.normal(0, 0.1, 100)
        units: list[dict] = [{}, {}]
        for subset in range(6):
            hard = rng.random(100)
            for side, row in zip(units, (hard, hard + alike + rng.normal(0, 0.05, 100)), strict=True):
                side[f"Belebele:{subset}"] = {f"q{i}": {"m": float(v)} for i, v in enumerate(row)}
        entries = []
        for name, side in zip("ab", units, strict=True):
            means = {task: float(np.mean([row["m"] for row in rows.values()])) for task, rows in side.items()}
            tasks = {task: TaskScores({"m": mean}, 100, "m", "Belebele") for task, mean in means.items()}
            entries.append(Entry(name, name * 4, tasks, side, {}))
        lines = by_name(standings(entries, baseline="a", how=Bootstrap(samples=200, confidence=0.9, seed=seed)))
        difference = lines["b"].against_baseline
        inside += difference.low <= 0 <= difference.high
        told += difference.p < 0.1
    assert binom.ppf(0.0005, trials, 0.9) <= inside <= binom.ppf(0.9995, trials, 0.9)
    assert binom.ppf(0.0005, trials, 0.1) <= told <= binom.ppf(0.9995, trials, 0.1)


def test_subsets_with_other_queries_are_drawn_apart():
    rows = retrieval(0.5, seed=1)
    units = {"G:one": rows, "G:other": {f"other {q}": values for q, values in rows.items()}}
    mean = float(np.mean([row["ndcg@10"] for row in rows.values()]))
    tasks = {task: TaskScores({"ndcg@10": mean}, N, "ndcg@10", "G") for task in units}
    both = Entry("a", "r", tasks, units, {})
    one = Entry("a", "r", {"G:one": tasks["G:one"]}, {"G:one": rows}, {})
    widths = []
    for entry_ in (both, one):
        (line,) = standings([entry_], how=Bootstrap(samples=4000)).lines
        widths.append(line.by_task.high - line.by_task.low)
    assert widths[0] == pytest.approx(widths[1] / np.sqrt(2), rel=0.06)


def test_a_statistic_of_items_has_an_interval():
    one = entry("a", 0.5, seed=1, noise=2.0)
    found = standings([one, entry("b", 0.5, seed=2, noise=1.0)], how=HOW)
    place = [column.task for column in found.columns].index("STSBenchmark")
    cell = by_name(found)["a"].cells[place].score
    items = one.items["STSBenchmark"]
    assert cell.value == pytest.approx(spearmanr(items.predictions, items.targets).statistic)
    assert cell.low < cell.value < cell.high
    assert by_name(found)["b"].cells[place].top
    assert not by_name(found)["a"].cells[place].top


def test_a_missing_task_is_missing_and_in_no_mean():
    more = replace(SOUP, tasks={**SOUP.tasks, "NFCorpus": TaskScores({"ndcg@10": 0.99}, 10)})
    found = standings([BASE, more], how=HOW)
    places = {column.task: place for place, column in enumerate(found.columns)}
    assert by_name(found)["base"].cells[places["NFCorpus"]] is None
    assert [column.task for column in found.common] == ["SciFact"]
    assert by_name(found)["soup"].by_task.value == SOUP.tasks["SciFact"].metrics["ndcg@10"]


def test_nothing_in_common_means_no_means_and_no_ranks():
    other = Entry("other", "r", {"NFCorpus": TaskScores({"ndcg@10": 0.3}, 10)})
    found = standings([BASE, other], how=HOW)
    assert [(line.label, line.by_task, line.rank) for line in found.lines] == [
        ("base", None, None),
        ("other", None, None),
    ]


def test_scores_on_other_data_do_not_stand_in_one_column():
    tasks = {"SciFact": replace(TUNED.tasks["SciFact"], revision="beir-1234")}
    found = standings([BASE, replace(TUNED, tasks=tasks)], how=HOW)
    assert [(column.task, column.revision) for column in found.columns] == [("SciFact", "a1"), ("SciFact", "beir-1234")]
    assert not found.common


def test_a_model_without_values_by_query_has_no_rank_and_takes_no_part():
    whole = Entry("published", "main", {"SciFact": replace(SOUP.tasks["SciFact"], statistic="other")})
    found = standings([BASE, TUNED, whole], how=HOW)
    line = by_name(found)["published"]
    assert (line.rank, line.by_task.low, line.cells[0].score.low) == (None, None, None)
    assert not line.cells[0].top
    assert found.pairs == 1
    assert by_name(found)["tuned"].rank == 1


def test_other_queries_than_most_models_have_give_no_interval():
    odd = replace(SOUP, units={"SciFact": dict(list(SOUP.units["SciFact"].items())[:50])})
    found = standings([BASE, TUNED, odd], how=HOW)
    assert [line.rank for line in found.lines if line.label == "soup"] == [None]
    assert by_name(found)["base"].cells[0].score.low is not None


def test_the_difference_from_the_baseline_is_paired():
    found = standings([BASE, TUNED, SOUP], baseline="base", how=Bootstrap(samples=3000))
    line = by_name(found)["tuned"]
    values = [np.array([row["ndcg@10"] for row in one.units["SciFact"].values()]) for one in (TUNED, BASE)]
    gap = values[0] - values[1]
    half = 1.976 * gap.std(ddof=1) / np.sqrt(N)
    d = line.against_baseline
    assert (d.value, d.low, d.high) == pytest.approx((gap.mean(), gap.mean() - half, gap.mean() + half), abs=half / 8)
    assert by_name(found)["base"].against_baseline is None
    assert d.p < 0.05


def test_equal_names_are_told_apart_by_revision():
    found = standings([BASE, replace(TUNED, name="base")], how=HOW)
    assert {line.label for line in found.lines} == {"base@basebase", "base@tunedtun"}
    with pytest.raises(RecipeError, match="is the name of several models"):
        standings([BASE, replace(TUNED, name="base")], baseline="base", how=HOW)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"baseline": "bass"}, "--baseline bass: there is no such model; did you mean 'base'"),
        ({"metric": "ndcg@1"}, "--metric ndcg@1: no task has it; did you mean 'ndcg@10'"),
    ],
)
def test_names_that_do_not_exist_are_told(asked, told):
    with pytest.raises(RecipeError, match=told):
        standings([BASE, TUNED], how=HOW, **asked)


def test_folders_without_scores_are_told():
    with pytest.raises(RecipeError, match="there are no scores"):
        standings([Entry("a", "r", {"failed": TaskScores({}, 0)})], how=HOW)


def test_another_metric_decides_where_a_task_has_it():
    def also(one: Entry) -> Entry:
        units = {"SciFact": {q: {**row, "mrr@10": 1 - row["ndcg@10"]} for q, row in one.units["SciFact"].items()}}
        scores = one.tasks["SciFact"]
        means = {**scores.metrics, "mrr@10": 1 - scores.metrics["ndcg@10"]}
        return replace(one, tasks={**one.tasks, "SciFact": replace(scores, metrics=means)}, units=units)

    models = [also(entry("a", 0.5, seed=1, noise=1.0)), also(entry("b", 0.6, seed=2, noise=1.0))]
    found = standings(models, metric="mrr@10", how=HOW)
    assert [column.metric for column in found.columns] == ["mrr@10", "cosine_spearman"]
    assert by_name(found)["a"].cells[0].top
    assert not by_name(found)["b"].cells[0].top


def test_many_models_get_enough_samples_to_be_told_apart():
    many = [entry(f"m{i:02}", 0.2 + 0.02 * i, seed=i, spread=0.01) for i in range(12)]
    found = standings(many, how=Bootstrap(samples=100))
    assert found.how.samples == 5280
    assert [line.rank for line in found.lines] == list(range(1, 13))


def test_predictions_that_are_all_equal_take_no_part():
    flat = entry("flat", 0.5, seed=4, noise=1.0)
    items = flat.items["STSBenchmark"]
    flat = replace(flat, items={"STSBenchmark": Items(items.ids, np.zeros(N), items.targets)})
    found = standings([entry("a", 0.5, seed=1, noise=1.0), flat], how=HOW)
    place = [column.task for column in found.columns].index("STSBenchmark")
    assert by_name(found)["flat"].cells[place].score.low is None
    assert by_name(found)["a"].cells[place].score.low is not None


def test_revisions_that_begin_alike_are_shown_whole():
    found = standings([replace(BASE, revision="1234567890"), replace(BASE, revision="1234567899")], how=HOW)
    assert {line.label for line in found.lines} == {"base@1234567890", "base@1234567899"}
