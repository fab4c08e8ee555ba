# ruff: noqa: E501
"""Suites: those that ship are right, and a mistake in one is a line with its place."""

import json
from pathlib import Path

import pytest

from embedkit.core.errors import RecipeError
from embedkit.evaluation.registry import registry
from embedkit.evaluation.suite import load_suite, schema, shipped

TEXT = """\
name: mine
tasks:
  SciFact: {kind: mteb, name: SciFact}
  own: {kind: retrieval, source: {kind: beir, path: data}, split: dev}
  alike:
    kind: sts
    path: sts.csv
    max_score: 1
  english: {kind: benchmark, name: "MTEB(eng, v2)"}
metrics: [ndcg@10, recall@50]
prompts: {query: "query: "}
significance: {samples: 500, confidence: 0.9}
"""


def load(folder, text):
    (folder / "s.yaml").write_text(text)
    return load_suite("s.yaml", folder)


def test_a_suite_is_read_with_paths_relative_to_it(tmp_path):
    found = load(tmp_path, TEXT)
    assert found.suite.tasks["alike"].path == tmp_path / "sts.csv"
    assert found.suite.significance.samples == 500
    assert found.suite.significance.correction == "holm"
    assert [task.name for task in found.suite.official()][:2] == ["SciFact", "ArguAna"]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("kind: sts", "kind: stss", "s.yaml:5: tasks.alike: no kind 'stss'; did you mean 'sts'?; there are "),
        ("kind: sts", "kind: local", "s.yaml:5: tasks.alike: no kind 'local'; "),
        ("    path: sts.csv\n", "", "s.yaml:5: tasks.alike.path: this key is missing"),
        ("max_score: 1", "max_scor: 1", "s.yaml:8: tasks.alike.max_scor: unknown key; did you mean 'max_score'?; there are "),
        ("max_score: 1", "max_score: 0", "s.yaml:5: tasks.alike: min_score 0 is not below max_score 0"),
        ("recall@50", "recal@50", "s.yaml:10: metrics.1: found 'recal@50'; "),
        ("{query:", "{quer:", "s.yaml:11: prompts"),
        ("samples: 500", "samples: 0", "s.yaml:12: significance.samples: found 0; input should be greater than 0"),
        ("name: mine", "name: my suite", "s.yaml:1: name: found 'my suite'; "),
        ("{kind: mteb, name: SciFact}", "{name: SciFact}", "s.yaml:3: tasks.SciFact: needs a key `kind` that says what it is"),
        ("own: {", "SciFact: {", "s.yaml:3: tasks.SciFact: this key stands twice (lines 3 and 4)"),
        ("tasks:", "tasks: [", "s.yaml:4: not YAML"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_its_place(tmp_path, old, new, line):
    assert old in TEXT
    with pytest.raises(RecipeError) as error:
        load(tmp_path, TEXT.replace(old, new, 1))
    found = [problem.replace(f"{tmp_path}/", "") for problem in error.value.problems]
    assert any(problem.startswith(line) for problem in found), found


@pytest.mark.parametrize("text", ["", "[]", "just words"])
def test_what_is_no_suite_is_told_in_a_line(tmp_path, text):
    with pytest.raises(RecipeError, match=r"s\.yaml:1: a suite is a mapping with the keys \['name', 'tasks'"):
        load(tmp_path, text)


def test_a_suite_that_is_not_there_is_told(tmp_path):
    with pytest.raises(RecipeError, match=r"nope\.yaml: cannot read the suite: No such file"):
        load_suite("nope.yaml", tmp_path)
    with pytest.raises(RecipeError, match=r"no suite is named 'scifct'; there are \[.*\]; did you mean 'scifact'\?"):
        load_suite("scifct")


def test_unknown_benchmarks_are_told_with_their_place(tmp_path):
    (problem,) = load(tmp_path, TEXT.replace("eng, v2", "eng, v3")).suite.unknown_benchmarks()
    assert problem.where == ("tasks", "english", "name")
    assert "did you mean 'MTEB(eng, v2)'?" in problem.message


def test_a_benchmark_of_which_nothing_is_left_is_told(tmp_path):
    found = load(tmp_path, TEXT.replace("MTEB(eng, v2)", "RTEB(jpn, beta)")).suite
    (problem,) = found.unknown_benchmarks()
    assert problem.message.startswith("RTEB(jpn, beta): 2 of its 2 tasks are left out. ")
    assert list(found.left_out()) == [problem.message]


def test_groups_are_those_of_benchmarks_unless_the_suite_says_otherwise(tmp_path):
    groups = "groups: {CQADupstackUnixRetrieval: unix, SciFact: science}\n"
    found = load(tmp_path, TEXT.replace("MTEB(eng, v2)", "BEIR") + groups).suite.grouped()
    assert (found["CQADupstackUnixRetrieval"], found["SciFact"]) == ("unix", "science")
    assert list(found.values()).count("CQADupstackRetrieval") == 11
    assert "ArguAna" not in found


def test_suites_ship():
    assert {"scifact", "beir-small", "sts", "mteb-eng-v2", "tldr"} <= set(shipped())


@pytest.mark.parametrize("name", shipped())
def test_a_suite_that_ships_is_right(name):
    """Its official names are mteb's, its files are there, and it is called as its file is."""
    found = load_suite(name)
    assert found.suite.name == name
    assert not list(found.suite.unknown_benchmarks())
    official = list(found.suite.official())
    assert all(not list(task.conflicts()) for task in official)
    assert {task.name for task in official} <= set(registry().tasks)
    local = [task for task in found.suite.tasks.values() if task.kind not in ("mteb", "benchmark")]
    assert official or local
    for task in local:
        path = task.source["path"] if task.kind == "retrieval" else task.path
        assert (found.folder / path).exists()


def test_the_schema_is_json_and_knows_every_kind():
    text = json.dumps(schema())
    assert all(f'"const": "{kind}"' in text for kind in ("mteb", "sts", "retrieval", "benchmark", "reranking"))
    assert Path(__file__).name not in text
