import json

import pytest

from embedkit.core.errors import RecipeError
from embedkit.core.stats import read_stats
from embedkit.core.store import read_manifest
from embedkit.plan import check
from embedkit.recipe import load_recipe, schema
from embedkit.refresh import Refresh, rounds_of
from embedkit.report.lineage import walk
from embedkit.report.sections.training import section
from embedkit.runner import run
from embedkit.training.parts import Part

RECIPE = """name: rounds
stages:
  base: {{kind: pretrained, source: {{kind: folder, path: {model}}}}}
  beir: {{kind: data, source: {{kind: beir, path: {beir}}}}}
  tuned:
    kind: refresh
    every: 4
    mine: {{data: beir, negatives: 2, top_k: 20}}
    train:
      model: base
      steps: 8
      batch_size: 16
      seed: 3
      learning_rate: 2.0e-3
"""


@pytest.fixture
def recipe(tiny_model, tiny_beir, tmp_path):
    def write(text=RECIPE, **replaced):
        text = text.format(model=tiny_model, beir=tiny_beir)
        for old, new in replaced.values():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "rounds.yaml"
        path.write_text(text)
        return path

    return write


def problems(path, *settings):
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, settings)
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


def test_rounds_stand_in_place_of_the_stage(recipe):
    stages = load_recipe(recipe(), ["tuned.train.learning_rate=0.001"]).stages
    assert [*stages][2:] == ["tuned/1/mined", "tuned/1", "tuned/2/mined", "tuned"]
    assert [stages[f"tuned/{number}/mined"].model for number in (1, 2)] == ["base", "tuned/1"]
    first, last = stages["tuned/1"], stages["tuned"]
    assert (first.pairs, first.part) == ("tuned/1/mined", Part(number=1, of=2))
    assert (last.pairs, last.part) == ("tuned/2/mined", Part(number=2, of=2, after="tuned/1"))
    assert first.learning_rate == last.learning_rate == 0.001
    assert first.model == last.model == "base"
    assert not list(check(stages))


def test_teachers_may_stand_between(recipe):
    teach = "    teach: {data: beir, teachers: [{kind: bm25}]}\n    train:\n      loss: {kind: margin_mse}\n"
    stages = load_recipe(recipe(teach=("    train:\n", teach))).stages
    assert [*stages][2:5] == ["tuned/1/mined", "tuned/1/taught", "tuned/1"]
    assert (stages["tuned/2/taught"].pairs, stages["tuned/2/taught"].student) == ("tuned/2/mined", "tuned/1")
    assert stages["tuned"].pairs == "tuned/2/taught"


def test_a_pass_may_be_a_round(recipe):
    stages = load_recipe(recipe(a=("every: 4", "rounds: 3"), b=("steps: 8", "epochs: 3"))).stages
    assert [stages[name].part.number for name in ("tuned/1", "tuned/2", "tuned")] == [1, 2, 3]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("top_k: 20", "top_kk: 20", "8: stages.tuned.mine.top_kk: unknown key; did you mean 'top_k'?"),
        ("batch_size: 16", "batch_size: x", "12: stages.tuned.train.batch_size: found 'x'; "),
        ("data: beir", "data: bier", "8: stages.tuned.mine.data: no stage is named 'bier'"),
        ("model: base", "model: bare", "10: stages.tuned.train.model: no stage is named 'bare'"),
        ("model: base", "model: beir", "10: stages.tuned.train.model: needs a model, but 'beir' makes a dataset"),
        ("mine: {", "mine: {model: base, ", "8: stages.tuned.mine: has 'model', which every round has of its own"),
        ("steps: 8", "steps: 9", "5: stages.tuned: every 4 steps: train.steps is to be two or more times 4, but has 9"),
        ("steps: 8", "epochs: 8", "5: stages.tuned: every 4 steps: train.steps is to be two or more times 4, but has"),
        ("every: 4", "rounds: 20", "5: stages.tuned: 20 rounds of 8 steps; a round has at least one"),
        (
            "seed: 3",
            "sharding: full",
            "5: stages.tuned: a round keeps the optimiser's state whole, so train needs sh",
        ),
        ("every: 4", "seed: 4", "7: stages.tuned.seed: unknown key"),
        ("seed: 3", "loss: {kind: margin_mse}", "9: stages.tuned.train.pairs: loss margin_mse needs target scores"),
    ],
)
def test_mistakes_are_told_once_and_where_they_are(old, new, expected, recipe):
    first, *others = problems(recipe(a=(old, new)))
    assert first.startswith(expected)
    assert not others


def test_settings_are_blamed_by_name(recipe):
    found = problems(recipe(), "tuned.mine.top_k=many")
    assert found[0].startswith("--set tuned.mine.top_k=many: stages.tuned.mine.top_k: found 'many'")


def test_editors_know_the_fields_of_the_stages_inside():
    definitions = schema()["$defs"]
    assert definitions["Refresh"]["properties"]["mine"] == {"$ref": "#/$defs/MineOfRefresh"}
    inner, whole = definitions["MineOfRefresh"], definitions["Mine"]
    assert set(whole["properties"]) - set(inner["properties"]) == {"kind", "model"}
    assert inner["required"] == ["data"]
    assert definitions["TrainOfRefresh"]["required"] == ["model"]


def test_a_stage_made_in_python_gives_the_same_rounds(recipe):
    whole = load_recipe(recipe()).stages
    spec = {"mine": {"data": "beir", "negatives": 2, "top_k": 20}, "every": 4}
    train = {"model": "base", "steps": 8, "batch_size": 16, "seed": 3, "learning_rate": 2e-3}
    found = rounds_of("tuned", Refresh.model_validate_json(json.dumps(spec | {"train": train})))
    assert found == {name: stage for name, stage in whole.items() if name.startswith("tuned")}


def test_rounds_run_and_are_told_as_one_training(recipe, tmp_path):
    result = run(recipe(), store=tmp_path / "store", out=tmp_path / "out")
    assert [name for name in result.made if name.startswith("tuned")] == [
        "tuned/1/mined",
        "tuned/1",
        "tuned/2/mined",
        "tuned",
    ]
    links = sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_symlink())
    assert links == ["base", "beir", "tuned", "tuned.1", "tuned.1.mined", "tuned.2.mined"]
    first, last = (result.artifacts[name] for name in ("tuned/1", "tuned"))
    assert [entry["step"] for entry in read_stats(last.path)["history"]] == [*range(1, 9)]
    assert read_stats(last.path)["history"][:4] == read_stats(first.path)["history"]
    by_key = {artifact.key: artifact for artifact in result.artifacts.values()}
    names = {step.key: step.name for step in result.steps}
    (course,) = section(walk([last.key], by_key.__getitem__, names))
    assert course.name == "tuned"
    assert "at step 1," in course.caption
    assert course.caption.endswith("at step 8; 2 rounds, from steps 1 and 5")
    assert read_manifest(last.path).inputs["part.after"] == first.key
    assert not run(recipe(), store=tmp_path / "store", out=tmp_path / "out").made
