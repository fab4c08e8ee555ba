"""A results folder that several runs share."""

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest

from embedkit.core.entry import Entry, Facts
from embedkit.core.errors import ArtifactError, DataError, RecipeError
from embedkit.core.scores import Items, TaskScores
from embedkit.core.store import digests
from embedkit.evaluation import shared
from embedkit.evaluation.shared import read

FACTS = Facts(1000, 32, 64)
STS = TaskScores({"cosine_spearman": 0.8}, 3, "cosine_spearman", statistic="spearman", type="STS")


def model(mean, *, tasks=("SciFact",), sts=False):
    """Scores of one model: a mean of two queries on each task, and perhaps three pairs."""
    own = {task: TaskScores({"ndcg@10": mean}, 2) for task in tasks}
    units = {task: {"q1": {"ndcg@10": mean - 0.1}, "q2": {"ndcg@10": mean + 0.1}} for task in tasks}
    items = {"STS12": Items(["0", "1", "2"], np.array([1.0, 2.0, 3.0]), np.arange(3.0))} if sts else {}
    return Entry("", "", {**own, **({"STS12": STS} if sts else {})}, units, items)


SCORES = model(0.5, sts=True)


def add(entry, to, *, name="a", revision="r", facts=Facts()):  # noqa: B008
    return shared.add(replace(entry, name=name, revision=revision, facts=facts), to)


def test_models_of_several_runs_stand_side_by_side(tmp_path):
    to = tmp_path / "to"
    assert add(SCORES, to, name="house/a", revision="r1", facts=FACTS).written == ["SciFact", "STS12"]
    add(model(0.6), to, name="house/b", revision="r1")
    added = add(model(0.7, tasks=("NFCorpus",)), to, name="house/a", revision="r1")
    first, second = read(to)
    assert (first.name, first.revision, first.facts) == ("house/a", "r1", FACTS)
    assert set(first.tasks) == {"SciFact", "STS12", "NFCorpus"}
    assert first.tasks["STS12"] == STS
    assert first.units["SciFact"] == {"q1": {"ndcg@10": 0.4}, "q2": {"ndcg@10": 0.6}}
    assert first.items["STS12"].predictions.tolist() == [1.0, 2.0, 3.0]
    assert (second.name, set(second.tasks), second.items) == ("house/b", {"SciFact"}, {})
    assert added.written == ["NFCorpus"]


def test_the_same_again_changes_no_byte(tmp_path):
    add(SCORES, tmp_path / "to", facts=FACTS)
    before = digests(tmp_path / "to")
    again = add(SCORES, tmp_path / "to")
    assert (again.written, list(again.kept)) == ([], ["SciFact", "STS12"])
    assert digests(tmp_path / "to") == before


def test_the_same_task_within_a_group_and_without_is_the_same(tmp_path):
    add(SCORES, tmp_path / "to")
    grouped = {task: replace(scores, group="g") for task, scores in SCORES.tasks.items()}
    again = add(replace(SCORES, tasks=grouped), tmp_path / "to")
    assert (again.written, list(again.kept)) == ([], ["SciFact", "STS12"])


def test_other_scores_are_refused_and_nothing_is_written(tmp_path):
    add(SCORES, tmp_path / "to")
    before = digests(tmp_path / "to")
    other = model(0.55, tasks=("SciFact", "NFCorpus"))
    with pytest.raises(DataError, match="has other scores of a on SciFact; results are never replaced"):
        add(other, tmp_path / "to")
    assert digests(tmp_path / "to") == before
    assert len(read(tmp_path / "to")[0].tasks) == 2


def test_values_by_query_that_differ_are_other_scores(tmp_path):
    add(SCORES, tmp_path / "to")
    other = replace(model(0.5), units={"SciFact": {"q1": {"ndcg@10": 0.45}, "q2": {"ndcg@10": 0.55}}})
    with pytest.raises(DataError, match="has other scores"):
        add(other, tmp_path / "to")


def test_a_name_that_another_model_has_is_refused(tmp_path):
    add(SCORES, tmp_path / "to", facts=FACTS)
    with pytest.raises(DataError, match="parameters is 1000, that of this model 7"):
        add(SCORES, tmp_path / "to", facts=Facts(7))


@pytest.mark.parametrize("name", ["../../etc", "..", ".hidden", "a b/c:d", "Ünïcode", "%2e"])
def test_any_name_is_one_folder_and_comes_back(tmp_path, name):
    added = add(SCORES, tmp_path / "to", name=name, revision=name)
    assert added.folder.resolve().parent.parent == (tmp_path / "to" / "scores").resolve()
    (entry,) = read(tmp_path / "to")
    assert (entry.name, entry.revision, set(entry.tasks)) == (name, name, {"SciFact", "STS12"})


def test_task_names_cannot_leave_the_folder(tmp_path):
    add(model(0.5, tasks=("..", "STS22:de/en")), tmp_path / "to")
    assert set(read(tmp_path / "to")[0].tasks) == {"..", "STS22:de/en"}
    assert [path.name for path in tmp_path.iterdir()] == ["to"]


def test_mteb_finds_nothing_of_ours_among_its_own(tmp_path):
    add(SCORES, tmp_path / "to")
    assert not list((tmp_path / "to" / "results").glob("*/*/*.json"))


def test_a_model_without_a_name_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="needs a name"):
        add(SCORES, tmp_path / "to", name="")


def test_a_damaged_file_is_told(tmp_path):
    folder = add(SCORES, tmp_path / "to").folder
    (folder / "model.json").write_text(json.dumps({"name": "a"}))
    with pytest.raises(ArtifactError, match=r"model\.json: cannot be read"):
        read(tmp_path / "to")


def test_two_processes_at_once_lose_nothing(tmp_path):
    tasks = [f"T{i}" for i in range(6)]
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        work = [pool.submit(add, model(0.5, tasks=tasks), tmp_path / "to", name=name) for name in ["a", "b"] * 4]
        written = [task for one in work for task in one.result().written]
    assert sorted(written) == sorted(tasks * 2)  # each by one process
    assert [(entry.name, sorted(entry.tasks)) for entry in read(tmp_path / "to")] == [("a", tasks), ("b", tasks)]
    assert {path.name for path in (tmp_path / "to" / "scores").iterdir()} == {".lock", "a", "b"}
