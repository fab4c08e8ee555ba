"""Reports and model cards of runs whose tasks are unlike each other."""

import json

import numpy as np
import pytest

from embedkit.core.scores import (
    Items,
    ModelScores,
    TaskScores,
    read_per_query,
    read_scores,
    write_items,
    write_per_query,
    write_scores,
)
from embedkit.report.stage import Package, Report
from tests.report.fake import FakeRun, build_run

STS = TaskScores({"cosine_spearman": 0.81}, 40, "cosine_spearman", statistic="spearman", type="STS")
CLUSTERS = TaskScores({"v_measure": 0.4}, 0, "v_measure", statistic="other", type="Clustering")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> FakeRun:
    """A search, a similarity task of two models, and a score that is known as a whole only."""
    run = build_run(tmp_path_factory.mktemp("unlike"))
    keys = [run.artifacts[name].key for name in ("base", "soup")]
    scores = run.artifacts["scores"].path
    more = {
        model.key: {"clusters": CLUSTERS, **({"STS12": STS} if model.key in keys else {})}
        for model in read_scores(scores)
    }
    models = [ModelScores(model.key, {**model.tasks, **more[model.key]}) for model in read_scores(scores)]
    targets, noise = np.arange(40.0), np.random.default_rng(0).normal(0, 3, (2, 40))
    ids = [str(row) for row in range(40)]

    def fill(draft):
        write_scores(draft, models)
        write_per_query(draft, read_per_query(scores))
        items = {(key, "STS12"): Items(ids, targets + own, targets) for key, own in zip(keys, noise, strict=True)}
        write_items(draft, items)

    run.add("unlike", "evaluate", "scores", inputs={"models.0": "base", "models.1": "soup"}, fill=fill, stats={})
    return run


def make(stage, run, folder):
    out = folder / "out"
    out.mkdir()
    stage.run(run.artifacts, out, run.context(folder / "context"))
    return out


def test_the_report_gives_each_task_its_own_metric(run, tmp_path):
    stage = Report(scores="unlike", baseline="base", candidate="soup", peers=("plain",), samples=200)
    out = make(stage, run, tmp_path)
    found = json.loads((out / "report.json").read_text())["tasks"]
    assert {task: one["metric"] for task, one in found.items()} == {
        "tldr": "ndcg@10",
        "clusters": "v_measure",
        "STS12": "cosine_spearman",
    }
    (only,) = found["STS12"]["headlines"]  # the peer has no score there
    assert only["interval"]["low"] < only["interval"]["high"]
    assert [one["interval"] for one in found["clusters"]["headlines"]] == [None, None]
    text = (out / "index.html").read_text()
    assert "There is no interval: only the score as a whole is known" in text
    assert "<caption>STS12, 40 pairs; no score: warm" in text
    assert "<caption>clusters</caption>" in text


def test_the_card_gives_each_task_its_own_metric(run, tmp_path):
    out = make(
        Package(model="soup", scores="unlike", baseline="base", name="soup", license="mit", samples=200), run, tmp_path
    )
    front, _, body = (out / "README.md").read_text().partition("## Scores")
    assert "type: sentence-similarity" in front
    assert "| STS12 | 40 | cosine Spearman | 0.810 | 0.000 |" in body
    assert "| clusters | – | V-measure | 0.400 | 0.000 | – |" in body
    assert "Each task is a search" not in body
