"""The package stage: an ordinary model folder with a card the hub can read."""

import json

import numpy as np
import pytest
from huggingface_hub import ModelCard
from pydantic import ValidationError

from embedkit.core.estimate import Size
from embedkit.core.stats import read_stats
from embedkit.core.store import digests
from embedkit.report.stage import Package, Report
from tests.report.fake import FakeRun, build_run

PACKAGE = Package(
    model="soup", scores="scores", baseline="base", name="tldr: find <commands>", license="apache-2.0", samples=200
)


def make(stage: Package, run: FakeRun, folder):
    out = folder / "out"
    out.mkdir(parents=True)
    stage.run(run.artifacts, out, run.context(folder / "context"))
    return out


@pytest.fixture(scope="module")
def out(run, tmp_path_factory):
    return make(PACKAGE, run, tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def card(out) -> ModelCard:
    return ModelCard.load(out / "README.md")


def test_the_front_matter_is_what_the_hub_reads(card):
    found = card.data.to_dict()
    assert found["library_name"] == "sentence-transformers"
    assert found["pipeline_tag"] == "sentence-similarity"
    assert found["license"] == "apache-2.0"
    assert found["language"] == ["en"]
    assert {"sentence-transformers", "embedkit"} <= set(found["tags"])
    assert card.data.model_name == "tldr: find <commands>"
    assert "base_model" not in found


def test_the_card_has_the_scores_of_the_model_alone(run, card):
    scores = json.loads((run.artifacts["scores"].path / "scores.json").read_text())["models"]
    means = next(m for m in scores if m["key"] == run.artifacts["soup"].key)["tasks"]["tldr"]["metrics"]
    found = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert found == {
        "nDCG@10": pytest.approx(means["ndcg@10"], abs=1e-5),
        "MRR@10": pytest.approx(means["mrr@10"], abs=1e-5),
        "Recall@100": pytest.approx(means["recall@100"], abs=1e-5),
    }
    assert {result.dataset_name for result in card.data.eval_results} == {"tldr"}


def test_the_text_tells_use_scores_data_methods_and_lineage(run, card):
    text = card.text
    for told in (
        'SentenceTransformer("path/to/this/folder")',
        '"query": "query: "',
        "| tldr | 300 | nDCG@10 | 0.6",
        "paired bootstrap over queries, 200 resamples",
        "| rejected rows | 1 |",
        "SoftLabelInfoNCE: a teacher's grades",
        "<https://arxiv.org/abs/1807.03748>",
        "`percent_of_positive`",
        "greedy soup of model weights (<https://arxiv.org/abs/2203.05482>)",
        f"| soup | soup | tldr, first, second | `{run.artifacts['soup'].key[:12]}` |",
    ):
        assert told in text
    assert "plain4" not in text
    assert "# tldr: find &lt;commands&gt;" in text


def test_tables_have_as_many_cells_in_each_row_as_in_their_head(card):
    width = 0
    for line in card.text.splitlines():
        width = (width or line.count("|")) if line.startswith("|") else 0
        assert line.count("|") == width or not width


def test_the_same_run_gives_the_same_bytes(run, out, tmp_path):
    assert digests(make(PACKAGE, run, tmp_path)) == digests(out)


def test_a_hub_model_is_named_as_the_base(tmp_path):
    run = build_run(tmp_path / "store")
    path = run.artifacts["base"].path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["spec"]["spec"]["source"] = {"kind": "hub", "name": "org/model", "revision": "0" * 40}
    path.write_text(json.dumps(manifest))
    card = ModelCard.load(make(PACKAGE, run, tmp_path / "package") / "README.md")
    assert card.data.base_model == "org/model"
    assert "[org/model](https://huggingface.co/org/model)" in card.text


def test_a_model_that_was_not_evaluated_has_a_card_without_scores(tmp_path):
    run = build_run(tmp_path / "store", means={"base": 0.5, "first": 0.6})
    stage = Package(model="soup", scores="scores", name="m")
    out = make(stage, run, tmp_path / "package")
    card = ModelCard.load(out / "README.md")
    assert card.data.eval_results is None
    assert "This model was not evaluated" in card.text
    warnings = read_stats(out)["warnings"]
    assert [warning.partition(";")[0] for warning in warnings] == [
        "the model card names no license",
        "the model card has no scores: the model was not evaluated",
    ]


def test_the_card_of_a_peer_names_the_losses_of_others(run, tmp_path):
    stage = Package(model="plain4", scores="scores", name="m", license="mit", base_model="org/base", samples=50)
    card = ModelCard.load(make(stage, run, tmp_path) / "README.md")
    assert card.data.base_model == "org/base"
    assert "- MultipleNegativesRankingLoss, 4 directions (sentence-transformers) (<https://sbert.net" in card.text
    assert "| tldr | 300 | nDCG@10 | 0.6" in card.text
    assert "interval" not in card.text


def test_a_model_as_its_makers_released_it_has_no_training_data_and_methods(run, tmp_path):
    text = (make(Package(model="base", scores="scores", name="m"), run, tmp_path) / "README.md").read_text()
    assert "No training data is known" in text
    assert "None: the weights are those of the model it came from." in text


def test_a_baseline_without_scores_is_a_warning(run, tmp_path):
    stage = Package(model="soup", scores="scores", baseline="text", name="m", license="mit", samples=50)
    warnings = read_stats(make(stage, run, tmp_path))["warnings"]
    assert warnings == ["the model card compares with nothing: text was not evaluated"]


def test_a_real_model_is_the_same_model_afterwards(tiny_model, tmp_path):
    from shutil import copytree

    from sentence_transformers import SentenceTransformer

    run = build_run(tmp_path / "store")
    run.add("tiny", "pretrained", "model", fill=lambda draft: copytree(tiny_model, draft, dirs_exist_ok=True), stats={})
    out = make(Package(model="tiny", scores="scores", name="tiny", license="mit"), run, tmp_path / "package")
    assert digests(tiny_model).items() <= digests(out).items()
    texts = ["list file", "move folder user"]
    before, after = (SentenceTransformer(str(path), device="cpu").encode(texts) for path in (tiny_model, out))
    assert np.array_equal(before, after)


def test_the_card_of_a_model_that_is_not_for_sentence_transformers_alone(tiny_model, tmp_path):
    from sentence_transformers import SentenceTransformer

    from embedkit.modules.latent_attention import LatentAttention
    from embedkit.retrieval.loading import load_model

    def fill(draft):
        modules = [load_model(tiny_model, device="cpu")[0], LatentAttention(32, 4, 2)]
        SentenceTransformer(modules=modules, device="cpu").save(str(draft), create_model_card=False)

    run = build_run(tmp_path / "store")
    run.add("latent", "backbone", "model", fill=fill, stats={})
    out = make(Package(model="latent", scores="scores", name="latent", license="mit"), run, tmp_path / "package")
    assert read_stats(out)["summary"] == ["latent as a folder that embedkit loads, with a model card"]
    code = (out / "README.md").read_text().split("```")[1].removeprefix("python\n")
    said = {}
    exec(code.replace("path/to/this/folder", str(out)), said)
    assert said["documents"].shape == (2, 32)


def test_a_model_that_says_nothing_of_prompts_is_packaged(tiny_model, tmp_path):
    from shutil import copytree

    def fill(draft):
        copytree(tiny_model, draft, dirs_exist_ok=True)
        (draft / "config_sentence_transformers.json").unlink()

    run = build_run(tmp_path / "store")
    run.add("plain", "pretrained", "model", fill=fill, stats={})
    out = make(Package(model="plain", scores="scores", name="plain", license="mit"), run, tmp_path / "package")
    assert "cosine" in (out / "README.md").read_text()


@pytest.mark.parametrize("stage", [Package, Report])
def test_a_seed_below_zero_is_refused(stage):
    names = {"model": "m"} if stage is Package else {"baseline": "b", "candidate": "c"}
    with pytest.raises(ValidationError, match="seed"):
        stage(scores="s", seed=-1, **names)


def test_the_estimate_keeps_the_size_of_the_model():
    size = Size(parameters=7)
    assert PACKAGE.estimate({"soup": size, "scores": Size(), "base": Size()}).size == size
