"""The evaluate stage on tiny models."""

import shutil
from itertools import pairwise
from typing import ClassVar

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from embedkit.core.errors import DataError, ModelError, StageError
from embedkit.core.estimate import Size
from embedkit.core.scores import read_per_query, read_scores
from embedkit.core.stage import Artifact, Stage
from embedkit.core.stats import read_stats
from embedkit.core.store import Store, digests
from embedkit.evaluation.containment import contained
from embedkit.evaluation.gathering import Gathered
from embedkit.evaluation.results import Part, TaskResult, read_result
from embedkit.evaluation.separation import read_separation
from embedkit.evaluation.stage import Evaluate, EvaluateOne
from embedkit.evaluation.tasks import LocalTask
from embedkit.measures.ranking import mean_scores, per_query
from embedkit.pins import pin
from embedkit.plan import plan

TASK = LocalTask(data="data")
METRICS = ("ndcg@10", "mrr@10", "recall@100", "map@100")


@pytest.fixture
def inputs(tiny_model, other_tiny_model, tiny_dataset):
    """Recipe name -> artifact."""
    return {"x": Artifact("a" * 64, tiny_model), "y": Artifact("b" * 64, other_tiny_model), "data": tiny_dataset}


def run(stage, inputs, out, context):
    """Run the parts, then the stage."""
    made = dict(inputs)
    for number, (name, part) in enumerate(stage.parts().items()):
        folder = out.with_name(f"{out.name}-part-{number}")
        run(part, inputs, folder, context)
        made[name] = Artifact(f"{number}" * 64, folder)
    out.mkdir()
    stage.run(made, out, context)
    return out


def test_scores_of_two_models(inputs, tmp_path, context, capsys):
    stage = Evaluate(models=("y", "x"), tasks={"tiny": TASK})
    out = run(stage, inputs, tmp_path / "out", context)
    first, second = read_scores(out)
    assert (first.key, second.key) == ("b" * 64, "a" * 64)
    assert tuple(first.tasks["tiny"].metrics) == METRICS
    assert first.tasks["tiny"].queries == 24
    per_query = read_per_query(out)
    assert list(per_query) == [("b" * 64, "tiny"), ("a" * 64, "tiny")]
    for model in (first, second):
        values = per_query[model.key, "tiny"].values()
        for metric, mean in model.tasks["tiny"].metrics.items():
            assert sum(v[metric] for v in values) / 24 == pytest.approx(mean)
    assert read_stats(out)["counts"] == {"models": 2, "tasks": 1}
    assert read_stats(out)["summary"][0].startswith("tiny: ndcg@10 0.")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Standardizing" not in captured.err


def test_a_part_keeps_mtebs_scores_and_the_run(inputs, tmp_path, context):
    out = run(EvaluateOne(model="x", task=TASK), inputs, tmp_path / "out", context)
    result = read_result(out)
    (part,) = result.parts
    assert (result.task, result.main, result.statistic, result.revision) == (
        "LocalRetrieval", "ndcg@10", "mean", inputs["data"].key
    )  # fmt: skip
    means = mean_scores(per_query(part.run, part.qrels, METRICS))
    assert {metric: part.mteb[metric.replace("@", "_at_")] for metric in METRICS} == pytest.approx(means, abs=1e-5)
    rows = pq.read_table(out / "run.parquet").to_pylist()
    assert len(rows) == 24 * 60
    assert all(a["score"] >= b["score"] for a, b in pairwise(rows) if a["query_id"] == b["query_id"])
    assert read_stats(out)["counts"] == {"queries": 24, "items": 0, "queries_without_positives": 0}


def test_a_part_tells_how_well_scores_separate(inputs, tmp_path, context):
    out = run(EvaluateOne(model="x", task=TASK), inputs, tmp_path / "out", context)
    figures = read_separation(out)[""]
    result = read_result(out).parts[0]
    positives = sum(grade > 0 for docs in result.qrels.values() for grade in docs.values())
    assert figures["pairs"]["positives"] == positives == figures["geometry"]["pairs"]
    assert 0.5 < figures["auc"]["pooled"]["value"] < 1
    gold = [result.judged[q][d] for q, docs in result.qrels.items() for d, grade in docs.items() if grade > 0]
    assert figures["geometry"]["tolerance"] == pytest.approx(sum(gold) / len(gold), abs=1e-6)
    assert figures["geometry"]["sample"] == 60


def test_the_same_evaluation_has_the_same_bytes(inputs, tmp_path, context):
    stage = EvaluateOne(model="x", task=TASK)
    first, second = (run(stage, inputs, tmp_path / name, context) for name in ("one", "two"))
    assert digests(first) == digests(second)


def test_other_metrics_search_nothing_again():
    stages = {"data": Data(), "x": Model(number=1)}
    first, second = (
        keys_of(stages | {"scores": Evaluate(models=("x",), tasks={"t": TASK}, metrics=metrics)})
        for metrics in (("ndcg@10",), ("recall@5", "map@7"))
    )
    assert first["scores/x/t"] == second["scores/x/t"]
    assert first["scores"] != second["scores"]


def test_mtebs_version_and_prompts_are_part_of_the_key(monkeypatch, tmp_path):
    def keys(task):
        stages = {"data": Data(), "x": Model(number=1), "scores": Evaluate(models=("x",), tasks={"t": task})}
        pins = pin(stages, Store(tmp_path))
        return {step.name: step.key for step in plan(stages, pins)}["scores/x/t"]

    plain, prompted = keys(TASK), keys(LocalTask(data="data", prompts={"query": "list "}))
    monkeypatch.setattr("embedkit.evaluation.stage.version", lambda _: "3.0")
    assert len({plain, prompted, keys(TASK)}) == 3


class Made(Stage):
    """A stage that makes something out of nothing."""

    kind: str = "made"
    number: int = 0

    def run(self, inputs, out, context):
        """Never run."""
        raise AssertionError


class Model(Made):
    produces: ClassVar[str] = "model"


class Data(Made):
    produces: ClassVar[str] = "dataset"


def keys_of(stages):
    """Part or stage -> key, of the evaluation."""
    return {step.name: step.key for step in plan(stages) if step.stage.kind.startswith("evaluate")}


def test_adding_or_renaming_a_model_evaluates_only_what_is_new():
    stages = {"data": Data(), "x": Model(number=1), "y": Model(number=2)}
    before = keys_of(stages | {"scores": Evaluate(models=("x",), tasks={"t": TASK})})
    more = keys_of(stages | {"scores": Evaluate(models=("y", "x"), tasks={"t": TASK})})
    assert more["scores/x/t"] == before["scores/x/t"] != more["scores/y/t"]
    assert more["scores"] != before["scores"]
    renamed = {"data": Data(), "z": Model(number=1), "all": Evaluate(models=("z",), tasks={"u": TASK})}
    assert keys_of(renamed)["all/z/u"] == before["scores/x/t"]


def test_tasks_are_listed_by_name_whatever_their_order_in_the_recipe(inputs, tmp_path, context):
    dev = LocalTask(data="data", split="dev")
    first = run(Evaluate(models=("x",), tasks={"b": TASK, "a": dev}), inputs, tmp_path / "one", context)
    second = run(Evaluate(models=("x",), tasks={"a": dev, "b": TASK}), inputs, tmp_path / "two", context)
    assert digests(first) == digests(second)
    assert list(read_scores(first)[0].tasks) == ["a", "b"]


def test_tasks_of_a_group_are_told_so_and_notes_are_warnings(inputs, tmp_path, context):
    tasks = {"one": TASK, "two": TASK, "three": TASK}
    plain = Evaluate(models=("x",), tasks=tasks)
    stage = Evaluate(models=("x",), tasks=tasks, groups={"one": "both", "two": "both"}, notes=("B: left out",))
    assert stage.parts() == plain.parts()
    out = run(stage, inputs, tmp_path / "out", context)
    (found,) = read_scores(out)
    assert {task: one.group for task, one in found.tasks.items()} == {"one": "both", "two": "both", "three": ""}
    assert "B: left out" in read_stats(out)["warnings"]
    (problem,) = Evaluate(models=("x",), tasks=tasks, groups={"tree": "both"}).conflicts({})
    assert str(problem) == "groups.tree: there is no such task; did you mean 'three'?"


def test_undefined_scores_are_in_no_range():
    gathered = Gathered()
    for model, value in (("x", None), ("y", 0.5), ("z", 0.25)):
        part = Part("", "default", "test", {"main_score": value})
        result = TaskResult("T", "STS", "cosine_spearman", "spearman", "1", {}, [part])
        gathered.add(model, "alike", result, (), official=True)
        if model == "x":
            assert gathered.line("alike") == "alike: cosine_spearman is undefined"
    assert gathered.line("alike") == "alike: cosine_spearman 0.2500 to 0.5000, 2 models"


def test_a_model_that_is_refused_is_told_by_its_name(inputs, tmp_path, context):
    folder = tmp_path / "model"
    shutil.copytree(inputs["x"].path, folder)
    (folder / "config_sentence_transformers.json").write_text('{"similarity_fn_name": "manhattan"}')
    changed = {**inputs, "x": Artifact("a" * 64, folder)}
    with pytest.raises(ModelError, match=r"^x/config_sentence_transformers\.json: similarity 'manhattan'; only "):
        run(EvaluateOne(model="x", task=TASK), changed, tmp_path / "out", context)


def test_a_split_without_queries_is_a_data_error(inputs, tmp_path, context):
    data = shutil.copytree(inputs["data"].path, tmp_path / "data")
    (data / "qrels" / "test.parquet").unlink()
    with pytest.raises(DataError, match="data: has no 'test' queries to evaluate on; it has"):
        run(EvaluateOne(model="x", task=TASK), inputs | {"data": Artifact("c", data)}, tmp_path / "out", context)


def test_scores_that_differ_from_mtebs_are_not_reported(inputs, tmp_path, context, monkeypatch):
    with contained():
        import embedkit.evaluation.harness as harness
    monkeypatch.setattr(harness, "mean_scores", lambda _: dict.fromkeys(METRICS, 0.99))
    with pytest.raises(StageError, match="they must agree, so neither is reported"):
        run(EvaluateOne(model="x", task=TASK), inputs, tmp_path / "out", context)
    assert not any((tmp_path / "out").iterdir())


def test_a_task_is_local_unless_it_says_otherwise():
    stage = Evaluate.model_validate_json('{"models": ["x"], "tasks": {"t": {"data": "d"}}}', strict=True)
    assert stage.tasks["t"] == LocalTask(kind="local", data="d", split="test")


@pytest.mark.parametrize(
    "changes",
    [
        {"models": ()},
        {"models": ("x", "x")},
        {"tasks": {}},
        {"tasks": {"a/b": TASK}},
        {"tasks": {"t": {"data": "d", "split": "validation"}}},
        {"metrics": ()},
        {"metrics": ("ndcg@10", "ndcg@10")},
        {"metrics": ("accuracy@1",)},
        {"metrics": ("recall@1001",)},
    ],
    ids=str,
)
def test_bad_settings_are_refused(changes):
    with pytest.raises(ValidationError):
        Evaluate(**{"models": ("x",), "tasks": {"t": TASK}} | changes)


def test_estimates_are_of_the_input_sizes():
    model = Size(active_parameters=500, dimensions=8, max_tokens=32)
    data = Size(documents=100, held_out={"test": 10}, document_tokens=50, query_tokens=5)
    estimate = EvaluateOne(model="x", task=TASK).estimate({"x": model, "data": data})
    assert (estimate.rows, estimate.tokens) == (110, 100 * 32 + 10 * 5)
    assert estimate.flops == 2 * 500 * estimate.tokens + 2 * 10 * 100 * 8
    assert Evaluate(models=("x",), tasks={"t": TASK}).estimate({}).flops == 0
