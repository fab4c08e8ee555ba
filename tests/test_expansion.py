# ruff: noqa: E501
"""`suite:` in a recipe stands for data stages and tasks; mistakes have places in the suite's file."""

import pytest

from embedkit.core.errors import RecipeError
from embedkit.core.store import Store
from embedkit.pins import pin
from embedkit.plan import plan
from embedkit.recipe import load_recipe, schema
from tests.tiny import build_tiny_beir

SUITE = """\
name: mine
tasks:
  pages: {kind: retrieval, source: {kind: beir, path: data}, split: dev, prompts: {query: "q: "}}
  alike: {kind: sts, path: sts.csv}
  SciFact: {kind: mteb, name: SciFact}
metrics: [recall@50]
prompts: {text: "t: ", query: "query: "}
significance: {samples: 500, seed: 7}
"""
RECIPE = """\
name: r
stages:
  base: {kind: pretrained, source: {kind: folder, path: model}}
  scores: {kind: evaluate, models: [base], suite: suites/s.yaml}
  report: {kind: report, scores: scores, baseline: base, candidate: base, seed: 3}
"""


@pytest.fixture
def folder(tmp_path, tiny_model):
    (tmp_path / "suites").mkdir()
    build_tiny_beir(tmp_path / "suites" / "data", documents=10)
    (tmp_path / "suites" / "sts.csv").write_text("sentence1,sentence2,score\nlist,copy,1\n")
    (tmp_path / "model").symlink_to(tiny_model)
    return tmp_path


def load(folder, recipe=RECIPE, suite=SUITE, settings=()):
    (folder / "suites" / "s.yaml").write_text(suite)
    (folder / "r.yaml").write_text(recipe)
    return load_recipe(folder / "r.yaml", settings)


def problems(folder, **texts):
    with pytest.raises(RecipeError) as error:
        load(folder, **texts)
    return [problem.replace(f"{folder}/", "") for problem in error.value.problems]


def test_tasks_become_stages_and_tasks(folder):
    stages = load(folder).stages
    assert list(stages) == ["base", "scores", "report", "scores-pages"]
    scores, data = stages["scores"], stages["scores-pages"]
    assert data.source.path == folder / "suites" / "data"
    assert (data.exact_duplicates, data.near_duplicates) == (False, None)
    assert list(scores.tasks) == ["pages", "alike", "SciFact"]
    assert (scores.tasks["pages"].data, scores.tasks["pages"].split) == ("scores-pages", "dev")
    assert scores.tasks["pages"].prompts == {"text": "t: ", "query": "q: "}
    assert scores.tasks["alike"].path == folder / "suites" / "sts.csv"
    assert scores.tasks["alike"].prompts == {"text": "t: ", "query": "query: "}
    assert scores.metrics == ("recall@50",)
    assert (stages["report"].samples, stages["report"].seed, stages["report"].confidence) == (500, 3, 0.95)


def test_a_recipe_with_a_suite_has_the_keys_of_one_without(folder):
    recipe = load(folder)
    written = RECIPE.replace(
        "suite: suites/s.yaml}",
        "metrics: [recall@50], tasks: {pages: {data: pages, split: dev, prompts: {text: 't: ', query: 'q: '}}, "
        "alike: {kind: sts, path: suites/sts.csv, prompts: {text: 't: ', query: 'query: '}}, "
        "SciFact: {kind: mteb, name: SciFact, prompts: {text: 't: ', query: 'query: '}}}}",
    ).replace("seed: 3", "seed: 3, samples: 500")
    written += "  pages: {kind: data, source: {kind: beir, path: suites/data}, exact_duplicates: false, near_duplicates: null}\n"
    keys = []
    for text in (RECIPE, written):
        recipe = load(folder, text)
        steps = plan(recipe.stages, pin(recipe.stages, Store(folder / "store")))
        keys.append({step.name: step.key for step in steps if step.name.startswith("scores/") or step.name == "scores"})
    assert keys[0] == keys[1]
    assert len(keys[0]) == 4


def test_what_the_stage_says_itself_goes_before(folder):
    own = RECIPE.replace("suite: suites/s.yaml", "suite: suites/s.yaml, metrics: [map@5], tasks: {alike: {data: d}}")
    own += "  d: {kind: data, source: {kind: beir, path: suites/data}}\n"
    scores = load(folder, own).stages["scores"]
    assert scores.metrics == ("map@5",)
    assert scores.tasks["alike"].kind == "local"
    assert set(scores.tasks) == {"pages", "alike", "SciFact"}


def test_a_benchmark_stands_for_its_tasks_save_those_named(folder):
    suite = SUITE.replace("SciFact: {kind: mteb, name: SciFact}", 'all: {kind: benchmark, name: "MTEB(eng, v2)"}')
    suite = suite.replace("  alike:", "  STS12:")
    tasks = load(folder, suite=suite).stages["scores"].tasks
    assert (tasks["STS12"].kind, tasks["STS13"].kind, tasks["STS17"].subsets) == ("sts", "mteb", ("en-en",))
    assert len(tasks) == 42


def test_a_mean_of_tasks_is_a_group_of_the_stage(folder):
    suite = SUITE.replace("SciFact: {kind: mteb, name: SciFact}", "all: {kind: benchmark, name: BEIR}")
    suite = suite.replace("  alike:", "  CQADupstackUnixRetrieval:") + "groups: {pages: mine}\n"
    found = load(folder, suite=suite).stages["scores"]
    assert (found.groups["pages"], len(found.tasks), found.notes) == ("mine", 27, ())
    parts = [name for name in found.tasks if name.startswith("CQADupstack")]
    assert {name: found.groups[name] for name in parts} == dict.fromkeys(parts, "CQADupstackRetrieval")
    assert (len(found.groups), len({found.groups.get(name, name) for name in found.tasks})) == (13, 16)
    assert "groups" not in load(folder).stages["scores"].model_fields_set


def test_tasks_of_a_benchmark_that_are_left_out_are_told(folder):
    suite = SUITE.replace("SciFact: {kind: mteb, name: SciFact}", 'all: {kind: benchmark, name: "RTEB(fin, beta)"}')
    (note,) = load(folder, suite=suite).stages["scores"].notes
    assert note.startswith("RTEB(fin, beta): 4 of its 7 tasks are left out. ")
    assert note.endswith(": its data are not public")


def test_a_shipped_suite_goes_by_its_name(folder):
    stages = load(folder, RECIPE.replace("suites/s.yaml", "tldr")).stages
    assert stages["scores-tldr"].source.path.is_dir()
    assert load(folder, settings=["scores.suite=scifact"]).stages["scores"].tasks["SciFact"].name == "SciFact"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("path: data", "path: date", "suites/s.yaml:3: stages.scores-pages.source.path: suites/date: no such file"),
        ("kind: beir", "kind: bear", "suites/s.yaml:3: stages.scores-pages.source: no kind 'bear'; did you mean 'beir'"),
        ("path: sts.csv", "path: st.csv", "suites/s.yaml:4: stages.scores.tasks.alike.path: suites/st.csv: no such file"),
        ("name: SciFact", "name: SciFct", "suites/s.yaml:5: stages.scores.tasks.SciFact.name: mteb has no task 'SciFct'; did you mean 'SciFact'?"),
        ("name: SciFact", "name: SciFact, splits: [tst]", "suites/s.yaml:5: stages.scores.tasks.SciFact.splits: SciFact has no split 'tst'; it has ['test']"),
        ("name: SciFact", "name: CQADupstackRetrieval", "suites/s.yaml:5: stages.scores.tasks.SciFact.name: CQADupstackRetrieval is the mean of other tasks; name those: CQADupstackAndroidRetrieval, "),
        ("name: SciFact", "name: SciFact, mirror: data", "suites/s.yaml:5: stages.scores.tasks.SciFact.mirror: suites/data: is not the folder of SciFact"),
        ("kind: sts", "kind: stss", "r.yaml:4: stages.scores.suite: suites/s.yaml:4: tasks.alike: no kind 'stss'; did you mean 'sts'?"),
        ("prompts: {text", "groups: {pags: x}\nprompts: {text", "r.yaml:4: stages.scores.suite: suites/s.yaml:7: groups.pags: there is no such task"),
        ("{kind: mteb, name: SciFact}", "{kind: benchmark, name: MTEBB}", "r.yaml:4: stages.scores.suite: suites/s.yaml:5: tasks.SciFact.name: mteb has no benchmark 'MTEBB'"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_suite_is_one_line_with_its_place(folder, old, new, line):
    assert old in SUITE
    found = problems(folder, suite=SUITE.replace(old, new, 1))
    assert len(found) == 1
    assert found[0].startswith(line), found


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("suites/nope.yaml", "r.yaml:4: stages.scores.suite: suites/nope.yaml: cannot read the suite: No such file"),
        ("sifact", "r.yaml:4: stages.scores.suite: no suite is named 'sifact'; there are ["),
        ("[a]", "r.yaml:4: stages.scores.suite: found ['a']; expected the name of a suite, or the path of its file"),
    ],
)
def test_a_suite_that_is_none_is_told_beside_the_other_mistakes(folder, value, line):
    found = problems(folder, recipe=RECIPE.replace("suites/s.yaml", value).replace("path: model", "path: modl"))
    assert found[0].startswith("r.yaml:3: stages.base.source.path: modl: no such file")
    assert found[1].startswith(line)
    assert len(found) == 2


def test_a_stage_in_the_way_is_told(folder):
    recipe = RECIPE + "  scores-pages: {kind: data, source: {kind: beir, path: suites/data}}\n"
    (line,) = problems(folder, recipe=recipe)
    assert line.endswith("its task 'pages' needs a stage named 'scores-pages' for its data, but there is another")


def test_the_schema_allows_suites():
    evaluate = schema()["$defs"]["Evaluate"]
    assert evaluate["properties"]["suite"]["type"] == "string"
    assert evaluate["required"] == ["models"]


def test_what_training_shares_with_a_suite_is_asked_by_its_name(folder):
    stages = load(
        folder,
        recipe="""\
name: r
stages:
  data: {kind: data, source: {kind: beir, path: suites/data}}
  clean: {kind: contamination, train: data, suite: suites/s.yaml}
""",
    ).stages
    assert list(stages) == ["data", "clean", "clean-pages"]
    assert stages["clean"].tasks["pages"].data == "clean-pages"
    assert "metrics" not in type(stages["clean"]).model_fields
