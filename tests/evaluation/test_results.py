"""The format of one model's result on one task, and of the scores of all."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from embedkit.core.errors import ArtifactError
from embedkit.core.scores import (
    Items,
    ModelScores,
    TaskScores,
    read_items,
    read_per_query,
    read_scores,
    read_texts,
    write_items,
    write_per_query,
    write_scores,
    write_texts,
)
from embedkit.evaluation import results
from embedkit.evaluation.results import RUN_DEPTH, Part, TaskResult, read_result, write_result

RANKED = Part(
    "",
    "default",
    "test",
    {"main_score": 0.25, "nauc_ndcg_at_10_max": None},
    run={"q2": {"d1": 0.5}, "q1": {"a": 2.0, "c": 1.0, "b": 1.0}},
    qrels={"q2": {"d1": 1, "d9": 0}, "q1": {"c": 2}},
    judged={"q2": {"d1": 0.5, "d9": 0.25}, "q1": {"c": 1.0}},
    texts={"q2": "two", "q1": "one"},
)
RESULT = TaskResult("T", "Retrieval", "ndcg@10", "mean", "r", {"task_name": "T"}, [RANKED])
OTHER = TaskResult(
    "C",
    "Classification",
    "accuracy",
    "mean",
    "r",
    {},
    [Part(split, "default", split, {}, units={"0": {"accuracy": 0.5}, "1": {"accuracy": 1.0}}) for split in ("a", "b")],
)


def test_a_result_comes_back_as_it_was_written(tmp_path):
    write_result(tmp_path, RESULT)
    found = read_result(tmp_path)
    assert found == RESULT
    assert list(found.parts[0].qrels) == ["q2", "q1"]
    assert {path.stem for path in tmp_path.iterdir()} == {"result", "run", "qrels", "judged", "queries"}


def test_parts_are_kept_apart(tmp_path):
    ranked = replace(RANKED, name="b", run={"q2": {"d7": 0.25}}, judged={})
    both = replace(RESULT, parts=[replace(RANKED, name="a"), ranked])
    write_result(tmp_path, both)
    assert read_result(tmp_path) == both
    (tmp_path / "units").mkdir()
    write_result(tmp_path / "units", OTHER)
    assert read_result(tmp_path / "units") == OTHER


def test_items_come_back_as_they_were_written(tmp_path):
    items = Items(("0", "1"), np.array([0.25, -1.0]), np.array([5.0, 0.0]))
    write_result(tmp_path, replace(OTHER, parts=[Part("", "default", "test", {}, items=items)]))
    found = read_result(tmp_path).parts[0].items
    assert found.ids == items.ids
    np.testing.assert_array_equal(found.predictions, items.predictions)
    np.testing.assert_array_equal(found.targets, items.targets)


def test_the_run_is_ranked_and_cut_however_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "_QUERIES", 1)
    run = {"q2": {f"d{i}": float(i) for i in range(RUN_DEPTH + 5)}, "q1": {"a": 1.0, "c": 1.0, "b": 2.0}}
    write_result(tmp_path, replace(RESULT, parts=[replace(RANKED, run=run), replace(RANKED, name="other")]))
    rows = pq.read_table(tmp_path / "run.parquet").to_pylist()
    assert len(rows) == RUN_DEPTH + 3 + 4
    assert rows[0] == {"part": "", "query_id": "q2", "doc_id": "d1004", "rank": 1, "score": 1004.0}
    assert [(row["doc_id"], row["rank"]) for row in rows[-7:-4]] == [("b", 1), ("c", 2), ("a", 3)]
    found, other = (part.run for part in read_result(tmp_path).parts)
    assert (len(found["q2"]), found["q1"], list(found), len(found)) == (RUN_DEPTH, run["q1"], ["q2", "q1"], 2)
    assert other == RANKED.run


def test_a_damaged_result_is_an_artifact_error(tmp_path):
    write_result(tmp_path, RESULT)
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_result(tmp_path)
    write_result(tmp_path, RESULT)
    (tmp_path / "run.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_result(tmp_path)


def test_items_and_texts_of_scores_come_back(tmp_path):
    assert (read_items(tmp_path), read_texts(tmp_path)) == ({}, {})
    write_items(tmp_path, {("k", "t"): Items(["0", "1"], np.array([0.5, 0.25]), np.array([1.0, 0.0]))})
    ((key, items),) = read_items(tmp_path).items()
    assert (key, items.ids, items.predictions.tolist(), items.targets.tolist()) == (
        ("k", "t"), ["0", "1"], [0.5, 0.25], [1.0, 0.0]
    )  # fmt: skip
    write_texts(tmp_path, {"t": {"q": "text"}})
    assert read_texts(tmp_path) == {"t": {"q": "text"}}


def test_a_metric_that_a_task_has_not_is_left_out(tmp_path):
    values = {("k", "a"): {"q": {"ndcg@10": 1.0}}, ("k", "b"): {"0": {"accuracy": 0.5}}}
    write_per_query(tmp_path, values)
    assert read_per_query(tmp_path) == values


def test_scores_come_back_as_they_were_written(tmp_path):
    models = [
        ModelScores("k2", {"t": TaskScores({"ndcg@10": 0.5}, 2)}),
        ModelScores("k1", {"t": TaskScores({"ndcg@10": 0.25}, 2)}),
    ]
    values = {
        ("k2", "t"): {"q1": {"ndcg@10": 1.0}, "q0": {"ndcg@10": 0.0}},
        ("k1", "t"): {"q1": {"ndcg@10": 0.5}, "q0": {"ndcg@10": 0.0}},
    }
    write_scores(tmp_path, models)
    write_per_query(tmp_path, values)
    assert read_scores(tmp_path) == models
    assert read_per_query(tmp_path) == values
    assert list(read_per_query(tmp_path)) == list(values)


@pytest.mark.parametrize("reader", [read_scores, read_per_query])
def test_missing_scores_are_an_artifact_error(tmp_path, reader):
    with pytest.raises(ArtifactError, match="Delete its folder"):
        reader(tmp_path)
