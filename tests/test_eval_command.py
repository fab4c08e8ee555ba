# ruff: noqa: E501
"""The command `embedkit eval`: models on a suite, what fails, and what is written for other tools."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from embedkit.cli.eval import _notes, _told
from embedkit.cli.eval_table import Scoreboard, print_scores
from embedkit.cli.main import main
from embedkit.core.errors import RecipeError
from embedkit.core.scores import TaskScores
from embedkit.evaluation.trec import read_qrels, read_run
from embedkit.measures.ranking import mean_scores, per_query
from embedkit.oneshot.eval import eval_draft, model_names, without
from embedkit.recipe import load_recipe
from tests.tiny import WORDS, build_tiny_beir, write_jsonl

SUITE = """\
name: mine
tasks:
  pages: {kind: retrieval, source: {kind: beir, path: data}}
  alike: {kind: sts, path: sts.csv}
metrics: [ndcg@10, recall@5]
"""
_ROWS = [f"{' '.join(WORDS[i : i + 3])},{' '.join(WORDS[i % 5 : i % 5 + 4])},{i % 6}" for i in range(24)]
PAIRS = "\n".join(["sentence1,sentence2,score", *_ROWS]) + "\n"


@pytest.fixture
def folder(tmp_path, tiny_model, other_tiny_model, monkeypatch):
    """Two models, `first` and `second`, and a suite; the current folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_model, tmp_path / "first")
    shutil.copytree(other_tiny_model, tmp_path / "second")
    build_tiny_beir(tmp_path / "data", documents=20)
    (tmp_path / "sts.csv").write_text(PAIRS)
    (tmp_path / "s.yaml").write_text(SUITE)
    return tmp_path


@pytest.fixture
def command(folder, monkeypatch, capsys):
    """Runs `embedkit eval`; exit code, output, errors."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["embedkit", "eval", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return (int(stopped.value.code or 0), *capsys.readouterr())

    return run


def told(out: str) -> dict:
    """The last event of those printed as JSON."""
    found = json.loads(out.splitlines()[-1])
    assert found["event"] == "evaluated"
    return found


def test_a_table_of_models_and_tasks_and_a_recipe_that_does_the_same(command, folder):
    code, out, err = command("first", "second", "--suite", "s.yaml", "--recipe-out", "r.yaml", "--trec", "trec")
    assert code == 0, err
    header, pages, alike, mean, *places = out.splitlines()
    assert header.split() == ["task", "metric", "first", "second"]
    assert pages.split()[:2] == ["pages", "nDCG@10"]
    assert alike.split()[:2] == ["alike", "cosine_spearman"]
    values = [[float(word) for word in line.split()[-2:]] for line in (pages, alike, mean)]
    assert mean.startswith("mean of 2 tasks")
    assert values[2] == pytest.approx([(a + b) / 2 for a, b in zip(*values[:2], strict=True)], abs=1e-4)
    assert places[0] == "scores, query by query: runs/eval-s/scores"
    recipe = load_recipe("r.yaml")
    assert list(recipe.stages) == ["first", "second", "scores", "scores-pages"]
    code, out, err = command("first", "second", "--suite", "s.yaml", "--json")
    found = told(out)
    assert (found["models"]["first"]["mean"], found["mean_over"]) == (
        pytest.approx(values[2][0], abs=1e-4),
        ["pages", "alike"],
    )
    assert json.loads(out.splitlines()[-2])["made"] == 0
    run, qrels = read_run(Path("trec/second.pages.run")).run, read_qrels(Path("trec/pages.qrels"))
    metrics = found["models"]["second"]["tasks"]["pages"]
    assert mean_scores(per_query(run, qrels, ["ndcg@10", "recall@5"])) == pytest.approx(metrics, abs=1e-9)


def test_what_fails_is_told_and_the_rest_is_scored(command, folder):
    (folder / "broken").mkdir()
    (folder / "bad.csv").write_text(PAIRS.replace(",0\n", ",x\n", 1))
    write_jsonl(folder / "labels.jsonl", [{"text": "list", "label": "a"}, {"text": "copy", "label": "b"}])
    suite = SUITE.replace("metrics:", "  bad: {kind: sts, path: bad.csv}\nmetrics:")
    (folder / "s.yaml").write_text(suite.replace("path: data", "path: nothing"))
    (folder / "nothing").mkdir()
    code, out, err = command("first", "broken", "second", "--suite", "s.yaml", "--json")
    found = told(out)
    assert code == 2
    assert set(found["failed"]) == {"broken", "pages", "bad"}
    assert list(found["models"]) == ["first", "second"]
    assert list(found["tasks"]) == found["mean_over"] == ["alike"]
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert any(line.startswith("error: broken: ") for line in errors)
    assert [line for line in errors if line.startswith("error: bad: ")] == [
        f"error: bad: {folder}/bad.csv row 1: score is 'x'; expected a number from 0 to 5"
    ]
    assert (folder / "runs" / "eval-s" / "scores" / "scores.json").is_file()


def test_if_all_fails_there_is_no_table(command, folder):
    (folder / "sts.csv").write_text("a,b\n")
    code, out, err = command("first", "--suite", "s.yaml", "--task", "alike")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == f"error: alike: {folder}/sts.csv: has no column 'sentence1'; it has ['a', 'b']"


def test_prompts_go_before_the_models_own(command):
    code, out, err = command("first", "--suite", "s.yaml", "--task", "alike", "--prompt-text", "list show ", "--json")
    assert code == 0, err
    prompted = told(out)["models"]["first"]["tasks"]["alike"]
    _, out, _ = command("first", "--suite", "s.yaml", "--task", "alike", "--json")
    assert prompted != told(out)["models"]["first"]["tasks"]["alike"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["first"], "--suite: is missing; name a suite or, with --task, tasks of mteb"),
        (["first", "--suite", "nope.yaml"], "nope.yaml: cannot read the suite: No such file"),
        (["first", "--suite", "tldrr"], "no suite is named 'tldrr'; there are ["),
        (["first", "--suite", "s.yaml", "--task", "alik"], "the suite mine has no task 'alik'; it has ['pages', 'alike']; did you mean 'alike'?"),
        (["first", "--task", "SciFct"], "--task SciFct: mteb has no task 'SciFct'; did you mean 'SciFact'?"),
        (["first", "--suite", "scifact", "--mirror", "none"], "none: no such folder; expected a mirror"),
        (["first", "--suite", "scifact", "--mirror", "data"], "data: has nothing, but no SciFact"),
        (["first", "--suite", "s.yaml", "--metrics", "ndcg@10,recal@5"], "--metrics ndcg@10,recal@5: found 'recal@5'; "),
        (["first", "first", "--suite", "s.yaml"], "MODEL first: is given twice"),
        (["nowhere", "--suite", "s.yaml"], "MODEL nowhere: no such folder and no such package"),
        (["first", "--suite", "s.yaml", "--submit-dir", "x"], "--name: is missing; it goes with --submit-dir"),
        (["first", "second", "--suite", "s.yaml", "--submit-dir", "x", "--name", "a/b"], "--submit-dir: takes one model at a time"),
        (["first", "--suite", "s.yaml", "--set", "frst.max_length=8"], "--set frst.max_length=8: no stage is named 'frst'"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_the_option(command, words, line):
    code, out, err = command(*words)
    assert (code, out) == (2, "")
    (problem,) = err.splitlines()
    assert problem.startswith(f"error: {line}"), problem


def test_official_tasks_by_name_and_from_a_mirror(folder):
    (folder / "mirror" / "SciFact").mkdir(parents=True)
    (folder / "mirror" / "SciFact" / "manifest.json").write_text("{}")
    for given in ({"suite": "scifact"}, {"suite": None, "tasks": ["SciFact"]}):
        recipe = eval_draft(models=["first"], mirror=Path("mirror"), **given).build()
        assert recipe.stages["scores"].tasks["SciFact"].mirror == Path("mirror/SciFact")
        assert recipe.name == {"scifact": "eval-scifact", None: "eval-SciFact"}[given["suite"]]


def test_names_of_models_are_short_and_unlike_each_other(folder):
    for path in ("runs/a/model", "runs/b/model", "runs/a/soup", "2nd v1.5", "scores"):
        (folder / path).mkdir(parents=True)
    words = ["runs/a/model", "runs/b/model", "runs/a/soup", "2nd v1.5", "scores", "org/name@" + "a" * 40]
    assert list(model_names(words).values()) == [
        "a-model",
        "b-model",
        "soup",
        "m-2nd-v1-5",
        f"{folder.name}-scores".lstrip("0123456789-_"),
        "name",
    ]
    assert list(model_names(["x/name@" + "1" * 40, "x/name@" + "2" * 40, "y/name"]).values()) == [
        "x-name-11111111",
        "x-name-22222222",
        "y-name",
    ]
    assert list(model_names(["first", "./first"]).values()) == ["first", "first-2"] or "is given twice"
    with pytest.raises(RecipeError, match="is given twice"):
        model_names(["first", "first"])


def test_a_group_counts_once_and_undefined_scores_are_dashes(capsys):
    def task(value, group=""):
        return TaskScores({"ndcg@10": value} if value is not None else {}, 3, "ndcg@10", group)

    board = Scoreboard(
        {
            "first": {"a": task(0.1, "g"), "b": task(0.3, "g"), "c": task(0.6), "d": task(0.9), "e": task(0.7, "g")},
            "second": {"a": task(0.2, "g"), "b": task(0.4, "g"), "c": task(0.5), "d": task(None)},
        }
    )
    assert board.common == ["g", "c"]  # of g, what both have
    assert [board.mean(model) for model in board.models] == pytest.approx([0.4, 0.4])
    assert board.as_json()["models"]["second"]["tasks"]["d"] == {}
    print_scores(board)
    lines = capsys.readouterr().out.splitlines()
    assert lines[4].split() == ["d", "nDCG@10", "0.9000", "–"]
    assert lines[6].split() == ["mean", "of", "2", "tasks", "0.4000", "0.4000"]


def test_what_is_told_does_not_repeat_what_it_is_of(folder):
    recipe = eval_draft(models=["first", "second"], suite="s.yaml").build()
    failed = {"scores/first/alike": ["alike: is bad"], "scores/second/alike": ["alike: is bad"]}
    assert _told(failed, recipe) == {"alike": ["is bad"]}
    assert _told({"scores/first/alike": ["alike: is bad"]}, recipe) == {"first on alike": ["is bad"]}
    assert _told({"first": ["alike: is bad"]}, recipe) == {"first": ["alike: is bad"]}


def test_what_a_benchmark_lacks_is_told(folder):
    (folder / "b.yaml").write_text('name: b\ntasks:\n  all: {kind: benchmark, name: "RTEB(fin, beta)"}\n')
    (note,) = _notes(eval_draft(models=["first"], suite="b.yaml").build())
    assert note.startswith("RTEB(fin, beta): 4 of its 7 tasks are left out. ")
    few = eval_draft(models=["first"], suite="b.yaml", tasks=["FinQARetrieval"]).build()
    assert _notes(few) == []


def test_without_what_failed(folder):
    recipe = eval_draft(models=["first", "second"], suite="s.yaml").build()

    def left(*failed):
        found = without(recipe, failed)
        return found and (found.stages["scores"].models, set(found.stages["scores"].tasks), set(found.stages))

    everything = {"first", "second", "scores", "scores-pages"}
    assert left() == (("first", "second"), {"pages", "alike"}, everything)
    assert left("second") == (("first",), {"pages", "alike"}, everything - {"second"})
    assert left("scores-pages") == (("first", "second"), {"alike"}, everything - {"scores-pages"})
    assert left("scores/first/alike") == (("first", "second"), {"pages"}, everything)
    assert left("scores/first/alike", "scores/first/pages") == (("second",), {"pages", "alike"}, everything - {"first"})
    assert left("scores/first/alike", "scores/second/alike", "scores-pages") is None
    assert left("first", "second") is None
