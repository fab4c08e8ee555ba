"""The format of one model's result on one task, and of the scores of all."""

import pyarrow.parquet as pq
import pytest

from embedkit.core.errors import ArtifactError
from embedkit.core.scores import ModelScores, TaskScores, read_per_query, read_scores, write_per_query, write_scores
from embedkit.evaluation.results import RUN_DEPTH, TaskResult, read_result, write_result

RESULT = TaskResult(
    per_query={"q2": {"ndcg@10": 0.5, "mrr@10": 1.0}, "q1": {"ndcg@10": 0.0, "mrr@10": 0.25}},
    metrics={"ndcg@10": 0.25, "mrr@10": 0.625},
    mteb={"ndcg_at_10": 0.25, "nauc_ndcg_at_10_max": None},
)


def test_a_result_comes_back_as_it_was_written(tmp_path):
    write_result(tmp_path, RESULT, {"q2": {"d1": 0.1}, "q1": {}})
    assert read_result(tmp_path) == RESULT
    assert list(read_result(tmp_path).per_query) == ["q2", "q1"]


def test_the_run_is_ranked_and_cut(tmp_path):
    run = {"q2": {f"d{i}": float(i) for i in range(RUN_DEPTH + 5)}, "q1": {"a": 1.0, "c": 1.0, "b": 2.0}}
    write_result(tmp_path, RESULT, run)
    rows = pq.read_table(tmp_path / "run.parquet").to_pylist()
    assert len(rows) == RUN_DEPTH + 3
    assert rows[0] == {"query_id": "q2", "doc_id": "d104", "rank": 1, "score": 104.0}
    assert [(row["doc_id"], row["rank"]) for row in rows[-3:]] == [("b", 1), ("c", 2), ("a", 3)]


def test_a_damaged_result_is_an_artifact_error(tmp_path):
    write_result(tmp_path, RESULT, {})
    (tmp_path / "scores.json").write_text("{}")
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_result(tmp_path)


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
