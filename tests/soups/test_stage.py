"""The soup stage on tiny models."""

import shutil
import sys
from dataclasses import replace

import pytest
from pydantic import ValidationError
from safetensors.torch import load_file

from embedkit.core.dataset import read_dataset
from embedkit.core.errors import DataError, EmbedkitError, ModelError
from embedkit.core.estimate import Size
from embedkit.core.progress import silent
from embedkit.core.stage import Artifact
from embedkit.core.stats import read_stats
from embedkit.core.store import digests
from embedkit.measures.ranking import mean_scores
from embedkit.retrieval.encoder import open_encoder
from embedkit.retrieval.index import Faiss
from embedkit.retrieval.scoring import score_split
from embedkit.soups.methods import Slerp, TaskArithmetic, Uniform
from embedkit.soups.search import Greedy
from embedkit.soups.stage import Soup


@pytest.fixture
def inputs(tiny_model, other_tiny_model, tiny_dataset):
    """Recipe name -> artifact."""
    return {"x": Artifact("a" * 64, tiny_model), "y": Artifact("b" * 64, other_tiny_model), "data": tiny_dataset}


def run(stage, inputs, out, context):
    out.mkdir()
    stage.run(inputs, out, context)
    return read_stats(out)


def dev_score(folder, data, context):
    values = score_split(open_encoder(folder, context), read_dataset(data.path), "dev", metrics=("ndcg@10",))
    return mean_scores(values)["ndcg@10"]


def test_uniform_names_members_and_weights(inputs, tmp_path, context):
    stats = run(Soup(models=("x", "y"), method=Uniform()), inputs, tmp_path / "out", context)
    assert stats["members"] == [{"key": "a" * 64, "weight": 0.5}, {"key": "b" * 64, "weight": 0.5}]
    assert stats["counts"]["merged"] == 2
    assert stats["counts"]["parameters"] == sum(
        t.numel() for t in load_file(tmp_path / "out/model.safetensors").values()
    )
    assert stats["summary"] == ["uniform merge of 2 models"]


def test_slerp_at_zero_is_the_first_model(inputs, tiny_model, tmp_path, context):
    run(Soup(models=("x", "y"), method=Slerp(t=0.0)), inputs, tmp_path / "out", context)
    merged, first = (load_file(folder / "model.safetensors") for folder in (tmp_path / "out", tiny_model))
    assert all(merged[name].allclose(first[name], atol=1e-7) for name in first)


def test_task_arithmetic_reads_its_base(inputs, other_tiny_model, tmp_path, context):
    method = TaskArithmetic(base="x", weights=(0.0, 1.0))
    run(Soup(models=("x", "y"), method=method), inputs, tmp_path / "out", context)
    merged, second = (load_file(folder / "model.safetensors") for folder in (tmp_path / "out", other_tiny_model))
    assert all(merged[name].allclose(second[name], atol=1e-6) for name in second)


def test_greedy_keeps_what_held_out_queries_like_best(inputs, tmp_path, context):
    stage = Soup(models=("x", "y"), method=Greedy(data="data"))
    stats = run(stage, inputs, tmp_path / "out", context)
    alone = [dev_score(inputs[name].path, inputs["data"], context) for name in "xy"]
    assert [c["score"] for c in stats["candidates"]] == alone
    assert len(stats["trials"]) == 3
    assert stats["score"] == max(trial["score"] for trial in stats["trials"]) >= max(alone)
    assert dev_score(tmp_path / "out", inputs["data"], context) == pytest.approx(stats["score"], abs=1e-6)
    assert sum(member["weight"] for member in stats["members"]) == 1.0
    assert not {"x", "y", "data"} & set(str(stats).replace("'", " ").split())


def test_one_model_alone_may_be_best(inputs, tmp_path, context, monkeypatch):
    scores = {(0,): 0.3, (1,): 0.4, (0, 1): 0.35}
    monkeypatch.setattr("embedkit.soups.stage.scorer", lambda *_: scores.__getitem__)
    stats = run(Soup(models=("x", "y"), method=Greedy(data="data")), inputs, tmp_path / "out", context)
    assert [member["weight"] for member in stats["members"]] == [0.0, 1.0]
    assert "one of 2 models alone is best" in stats["summary"][0]
    merged, second = digests(tmp_path / "out"), digests(inputs["y"].path)
    assert {k: v for k, v in merged.items() if k != "stats.json"} == second


def test_scores_found_before_a_crash_are_not_computed_again(inputs, tmp_path, context, monkeypatch):
    stage = Soup(models=("x", "y"), method=Greedy(data="data"))
    first = run(stage, inputs, tmp_path / "first", context)
    monkeypatch.setattr("embedkit.soups.heldout.score_split", lambda *_, **__: pytest.fail("scored again"))
    second = run(stage, inputs, tmp_path / "second", context)
    assert first == second
    assert digests(tmp_path / "first") == digests(tmp_path / "second")


def test_a_search_shows_its_progress(inputs, tmp_path, context):
    shown = []

    def progress(what, total):
        shown.append(what)
        return silent(what, total)

    method = Greedy(data="data")
    run(Soup(models=("x", "y"), method=method), inputs, tmp_path / "out", replace(context, progress=progress))
    assert shown.count("search") == 3


def test_a_soup_is_never_chosen_by_test_queries():
    with pytest.raises(ValidationError, match="'train' or 'dev'"):
        Greedy(data="data", split="test")


def test_a_missing_faiss_is_told_before_anything_runs(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(EmbedkitError, match="FAISS is not installed"):
        Soup(models=("x", "y"), method=Greedy(data="data", index=Faiss())).facts()
    assert Soup(models=("x", "y"), method=Greedy(data="data")).facts() == Soup(models=("x", "y")).facts() == {}


def test_greedy_needs_held_out_queries(inputs, tmp_path, context):
    data = shutil.copytree(inputs["data"].path, tmp_path / "data")
    (data / "qrels" / "dev.parquet").unlink()
    with pytest.raises(DataError, match="data: has no 'dev' queries to choose a soup by; it has"):
        run(
            Soup(models=("x", "y"), method=Greedy(data="data")),
            inputs | {"data": Artifact("c", data)},
            tmp_path / "o",
            context,
        )


def test_models_that_differ_are_named(inputs, tmp_path, context):
    other = shutil.copytree(inputs["y"].path, tmp_path / "other")
    (other / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"y: .* has no"):
        run(Soup(models=("x", "y")), inputs | {"y": Artifact("c", other)}, tmp_path / "out", context)


def test_estimates_are_of_the_input_sizes():
    model = Size(parameters=1000, active_parameters=500, dimensions=8, max_tokens=32)
    data = Size(documents=100, held_out={"dev": 10}, document_tokens=50, query_tokens=5)
    uniform = Soup(models=("x", "y")).estimate({"x": model, "y": model})
    assert (uniform.size, uniform.flops) == (model, 0)
    greedy = Soup(models=("x", "y"), method=Greedy(data="data")).estimate({"x": model, "y": model, "data": data})
    assert greedy.rows == 3 * 110
    assert greedy.tokens == 3 * (100 * 32 + 10 * 5)
    assert greedy.flops == 2 * 500 * greedy.tokens
