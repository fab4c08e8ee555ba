# ruff: noqa: E501
"""Every mistake in a recipe is one line that says where, what and what would be right; all of them at once."""

import json
from pathlib import Path

import pytest

from embedkit.core.errors import RecipeError
from embedkit.core.store import Store
from embedkit.pins import pin
from embedkit.plan import plan
from embedkit.recipe import ADAPTER, load_recipe, schema
from embedkit.starter import write_starter

FOLDER = Path(__file__).parents[1] / "recipes"
RECIPES = sorted(
    path for path in FOLDER.glob("*.yaml") if path.name != "starter.yaml"
)  # that one needs files of one's own
GOLDEN = Path(__file__).parent / "golden"

GOOD = """\
name: good
stages:
  base: {kind: pretrained, source: {kind: folder, path: model}}
  rows: {kind: data, source: {kind: beir, path: data}}
  warm:
    kind: train
    model: base
    pairs: rows
    steps: 3
    loss: {kind: infonce, temperature: 0.02}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "data").mkdir()
    return tmp_path


def load(folder, text, settings=()):
    (folder / "r.yaml").write_text(text)
    return load_recipe(folder / "r.yaml", settings)


def problems(folder, text, settings=()):
    with pytest.raises(RecipeError) as error:
        load(folder, text, settings)
    return [p.replace(str(folder) + "/", "") for p in error.value.problems]


def test_a_good_recipe_loads_with_paths_relative_to_it(folder):
    recipe = load(folder, GOOD)
    assert list(recipe.stages) == ["base", "rows", "warm"]
    assert recipe.stages["rows"].source.path == folder / "data"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("temperature: 0.02", "temprature: 0.02", "r.yaml:10: stages.warm.loss.temprature: unknown key; did you mean 'temperature'?; there are ['directions', 'focal', 'focal_detach', 'hardness', 'hardness_of', 'kind', 'mask_classes', 'other_positives', 'temperature']"),
        ("kind: infonce", "kind: infonc", "r.yaml:10: stages.warm.loss: no kind 'infonc'; did you mean 'infonce'?; there are "),
        ("kind: train", "kind: trian", "r.yaml:5: stages.warm: no kind 'trian'; did you mean 'train'?; there are "),
        ("steps: 3", "steps: three", "r.yaml:9: stages.warm.steps: found 'three'; input should be a valid integer"),
        ("steps: 3", "steps: true", "r.yaml:9: stages.warm.steps: found True; input should be a valid integer"),
        ("steps: 3", "steps: 0", "r.yaml:9: stages.warm.steps: found 0; input should be greater than 0"),
        ("temperature: 0.02", "temperature: .nan", "r.yaml:10: stages.warm.loss.temperature: found nan; input should be a finite number"),
        ("model: base", "model: bse", "r.yaml:7: stages.warm.model: no stage is named 'bse'; there are ['base', 'rows', 'warm']; did you mean 'base'?"),
        ("model: base", "model: rows", "r.yaml:7: stages.warm.model: needs a model, but 'rows' makes a dataset"),
        ("model: base", "model: warm", "r.yaml:5: stages.warm: stages need each other in a circle: warm -> warm"),
        ("    pairs: rows\n", "", "r.yaml:5: stages.warm.pairs: this key is missing"),
        ("path: data", "path: date", "r.yaml:4: stages.rows.source.path: date: no such file or folder"),
        ("{kind: beir, path: data}", "{path: data}", "r.yaml:4: stages.rows.source: needs a key `kind` that says what it is"),
        ("name: good", "name: 'not good'", "r.yaml:1: name: found 'not good'; a recipe's name is letters"),
        ("name: good", "nam: good", "r.yaml:1: nam: unknown key; a recipe has ['name', 'stages']; did you mean 'name'?"),
        ("  warm:", "  w arm:", "r.yaml:5: stages.w arm: a stage's name is letters"),
        ("steps: 3", "steps: 3\n    steps: 4", "r.yaml:9: stages.warm.steps: this key stands twice (lines 9 and 10)"),
        ("kind: infonce, temperature: 0.02", "kind: soft_label_infonce", "r.yaml:8: stages.warm.pairs: loss soft_label_infonce needs target scores, but 'rows' has none; a `teach` stage makes them"),
        ("name: good", "name: 2024-99-99", "r.yaml: not YAML: month must be in"),
        ("name: good", "name: \"\\x01\x01\"", "r.yaml: not YAML"),
        ("{kind: infonce, temperature: 0.02}", "&l {kind: infonce, x: [*l]}", "r.yaml:10: stages.warm.loss.x.0: this alias contains itself"),
        ("stages:", "stages: ["  , "r.yaml:4: not YAML"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_its_place(folder, old, new, line):
    assert old in GOOD
    found = problems(folder, GOOD.replace(old, new, 1))
    assert any(problem.startswith(line) for problem in found), found


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(folder):
    text = GOOD.replace("path: model", "path: nowhere").replace("steps: 3", "steps: x").replace("temperature", "tau")
    text += "  soup: {kind: soup, models: [warm, wram]}\n"
    lines = [problem.split(" ")[0] for problem in problems(folder, text)]
    assert lines == ["r.yaml:3:", "r.yaml:9:", "r.yaml:10:", "r.yaml:11:"]


def test_a_stage_that_cannot_be_read_is_not_reported_again_by_those_that_refer_to_it(folder):
    found = problems(folder, GOOD.replace("kind: folder", "kind: folde"))
    assert len(found) == 1


def test_settings_change_fields_and_their_mistakes_are_theirs(folder):
    assert load(folder, GOOD, ["warm.steps=7", "warm.loss.temperature=0.5"]).stages["warm"].steps == 7
    assert problems(folder, GOOD, ["warm.stpes=7"])[0].startswith("--set warm.stpes=7: stages.warm.stpes: unknown key")
    assert problems(folder, GOOD, ["wram.steps=7"])[0].endswith("did you mean 'warm'?")
    assert problems(folder, GOOD, ["steps"])[0].startswith("--set steps: expected stage.field=value")


def test_numbers_may_be_written_as_people_write_them(folder):
    assert load(folder, GOOD.replace("0.02", "2e-2")).stages["warm"].loss.temperature == 0.02
    assert load(folder, GOOD, ["warm.learning_rate=1e-4"]).stages["warm"].learning_rate == 1e-4


def test_setting_one_alias_leaves_the_others(folder):
    text = GOOD.replace("loss: {", "loss: &l {") + "  next: {kind: train, model: warm, pairs: rows, loss: *l}\n"
    stages = load(folder, text, ["warm.loss.temperature=0.5"]).stages
    assert (stages["warm"].loss.temperature, stages["next"].loss.temperature) == (0.5, 0.02)


def test_a_report_on_a_model_without_scores_is_told_before_anything_runs(folder):
    text = GOOD + "  s: {kind: evaluate, models: [base], tasks: {t: {data: rows}}}\n"
    text += "  r: {kind: report, scores: s, baseline: base, candidate: warm}\n"
    assert problems(folder, text) == ["r.yaml:12: stages.r.candidate: 'warm' is not among the models of 's': ['base']"]


def test_a_recipe_that_is_not_there(tmp_path):
    with pytest.raises(RecipeError, match=r"nope\.yaml: cannot read the recipe: No such file"):
        load_recipe(tmp_path / "nope.yaml")


@pytest.mark.parametrize("text", ["", "[]", "just words", "name: x", "name: x\nstages: {}", "name: x\nstages: [1]"])
def test_what_is_no_recipe_is_told_in_a_line(folder, text):
    assert all(p.startswith("r.yaml:") for p in problems(folder, text))


def test_every_recipe_that_ships_plans(tmp_path):
    assert RECIPES
    for path in RECIPES:
        recipe = load_recipe(path)
        assert len(plan(recipe.stages, pin(recipe.stages, Store(tmp_path)))) >= len(recipe.stages) > 0


def test_the_starter_plans_for_files_of_ones_own(tmp_path):
    (tmp_path / "my pairs.jsonl").write_text('{"query": "a", "positive": "b"}\n')
    write_starter(tmp_path / "my-own.yaml", pairs="my pairs.jsonl")
    recipe = load_recipe(tmp_path / "my-own.yaml")
    assert recipe.name == "my-own"
    assert [step.name for step in plan(recipe.stages, pin(recipe.stages, Store(tmp_path)))][-1] == "report"


def test_a_recipe_survives_being_written_out():
    recipe = load_recipe(RECIPES[0])
    for name, stage in recipe.dump()["stages"].items():
        assert ADAPTER.validate_json(json.dumps(stage), strict=True) == recipe.stages[name]


def test_the_committed_schema_is_the_one_recipes_are_checked_by():
    path = FOLDER / "schema.json"
    assert json.loads(path.read_text()) == schema(), "run: embedkit schema > recipes/schema.json"


def test_keys_of_the_quickstart_are_those_on_record(tmp_path, request, monkeypatch):
    """A change here means that everybody's artifacts are made again: raise the `version` of the stage that changed."""
    monkeypatch.setattr("embedkit.evaluation.stage.version", lambda _: "2.26.24")  # of mteb: part of the scores' keys
    recipe = load_recipe(FOLDER / "quickstart.yaml")
    keys = {step.name: step.key for step in plan(recipe.stages, pin(recipe.stages, Store(tmp_path)))}
    path = GOLDEN / "quickstart.json"
    if request.config.getoption("--update-golden"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(keys, indent=1) + "\n")
    assert keys == json.loads(path.read_text())
