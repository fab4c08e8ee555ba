"""Every kind of model trains, is saved as what it was, and embeds the same wherever it is loaded."""

import json

import numpy as np
import pytest

from embedkit.core.dataset import read_dataset
from embedkit.core.stage import Artifact, Context
from embedkit.core.stats import read_stats
from embedkit.core.store import digests
from embedkit.models.attention import attention_of
from embedkit.models.stage import Backbone, Static, Towers
from embedkit.models.static import RandomVectors
from embedkit.retrieval.encoder import open_encoder
from embedkit.retrieval.identity import model_digests, read_config
from embedkit.retrieval.loading import load_model
from embedkit.training.plain import TrainST
from embedkit.training.stage import Train
from tests.tiny import WORDS
from tests.tiny_backbones import build_tiny_decoder
from tests.training.runs import run

TEXTS = [" ".join(WORDS[i : i + 1 + i % 7]) for i in range(20)]
TASKS = ("queries", "documents")
FIELDS = {
    "model": "model",
    "pairs": "pairs",
    "seed": 3,
    "steps": 4,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "checkpoint_every": 9,
}
HEAD = {"model": "base", "attention": "bidirectional", "projection": [16]}
KINDS = {
    "mean": Backbone.model_validate({**HEAD, "pooling": {"kind": "mean", "include_prompt": False}}),
    "latent": Backbone.model_validate({**HEAD, "pooling": {"kind": "latent_attention", "latents": 8, "heads": 2}}),
    "layerwise": Backbone.model_validate({**HEAD, "pooling": {"kind": "layerwise", "latents": 4, "heads": 2}}),
    "towers": Towers(query="small", document="base"),
    "static": Static(model="base", dimensions=16),
    "fast_queries": Towers(query="wide", document="base"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory, tiny_model):
    """A folder of each kind, with prompts."""
    root = tmp_path_factory.mktemp("backbones")
    made = {"base": build_tiny_decoder(root / "decoder"), "small": tiny_model}
    for name, stage in {"wide": Static(model="base", dimensions=32, vectors=RandomVectors()), **KINDS}.items():
        out = root / name
        out.mkdir()
        inputs = {key: Artifact(key[0] * 64, path) for key, path in made.items()}
        stage.run(inputs, out, Context(work=root, embeddings=root / "embeddings"))
        settings = out / "config_sentence_transformers.json"
        about = json.loads(settings.read_text()) | {"prompts": {"query": "list : ", "document": "page : "}}
        settings.write_text(json.dumps(about))
        made[name] = out
    return made


@pytest.mark.parametrize("name", KINDS)
def test_a_round_trip(models, tiny_dataset, tmp_path, context, name):
    base = models[name]
    out = run(Train.model_validate(FIELDS), base, tiny_dataset.path, tmp_path / "a")
    assert (out / "modules.json").read_text() == (base / "modules.json").read_text()
    before, after = digests(base), digests(out)
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert changed - {"stats.json", "config_sentence_transformers.json"} == {
        path for path in before if path.endswith(".safetensors")
    }
    model, encoder = load_model(out, device="cpu"), open_encoder(out, context)
    np.testing.assert_allclose(encoder.queries(TEXTS), model.encode_query(TEXTS), atol=1e-5)
    np.testing.assert_allclose(encoder.documents(TEXTS), model.encode_document(TEXTS), atol=1e-5)
    moved = [np.abs(getattr(encoder, t)(TEXTS) - getattr(open_encoder(base, context), t)(TEXTS)).max() for t in TASKS]
    assert min(moved) > 1e-5
    if isinstance(KINDS[name], Backbone):
        assert attention_of(model[0].model) == "bidirectional"


@pytest.mark.parametrize("name", ["layerwise", "fast_queries"])
def test_chunks_change_nothing(models, tiny_dataset, tmp_path, name):
    losses = []
    for size in (None, 3):
        stage = Train.model_validate({**FIELDS, "chunk_size": size})
        history = read_stats(run(stage, models[name], tiny_dataset.path, tmp_path / str(size)))["history"]
        losses.append([entry["loss"] for entry in history])
    assert np.isfinite(losses[0]).all()
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


@pytest.mark.parametrize("name", ["towers", "latent", "static"])
def test_losses_of_sentence_transformers_train_them_too(models, tiny_dataset, tmp_path, context, name):
    out = run(TrainST.model_validate(FIELDS), models[name], tiny_dataset.path, tmp_path)
    encoder, base = open_encoder(out, context), open_encoder(models[name], context)
    moved = [np.abs(getattr(encoder, task)(TEXTS) - getattr(base, task)(TEXTS)).max() for task in TASKS]
    assert min(moved) > 1e-5


@pytest.mark.parametrize("name", ["latent", "towers", "static"])
def test_a_finished_training_is_published_from_its_checkpoint(models, tiny_dataset, tmp_path, name):
    """As after a kill between the last step and the artifact."""
    stage = Train.model_validate(FIELDS)
    first = run(stage, models[name], tiny_dataset.path, tmp_path)
    first.rename(tmp_path / "first")
    again = run(stage, models[name], tiny_dataset.path, tmp_path)
    assert digests(again) == digests(tmp_path / "first")


def test_documents_of_towers_whose_queries_learn_are_found_again(models, tiny_dataset, tmp_path):
    stage = Train.model_validate({**FIELDS, "freeze": ["document"]})
    out = run(stage, models["towers"], tiny_dataset.path, tmp_path)
    before, after = model_digests(models["towers"]), model_digests(out)
    assert before["document"] == after["document"]
    assert before["query"] != after["query"]


@pytest.mark.parametrize("name", ["latent", "towers"])
def test_the_benchmark_scores_what_mteb_would(models, tiny_dataset, context, name):
    """With prompts, bidirectional attention and a module of embedkit's, or a tower for each side."""
    from embedkit.evaluation.containment import contained

    with contained():
        import mteb

        from embedkit.evaluation.harness import DatasetTask, evaluate
        from embedkit.evaluation.model import StoredModel

        folder = models[name]
        task = DatasetTask(read_dataset(tiny_dataset.path), "test", "r")
        model = StoredModel(open_encoder(folder, context), read_config(folder).named_prompts, {})
        (part,) = evaluate(model, task, context.work).parts
        alone = mteb.evaluate(load_model(folder, device="cpu"), task, cache=None, show_progress_bar=False)
        assert part.mteb["main_score"] == alone.task_results[0].get_score()


def test_adapters_are_merged_into_what_looks_ahead(models, tiny_dataset, tmp_path):
    stage = Train.model_validate({**FIELDS, "lora": {"rank": 4}})
    out = run(stage, models["latent"], tiny_dataset.path, tmp_path)
    assert attention_of(load_model(out, device="cpu")[0].model) == "bidirectional"
    before, after = digests(models["latent"]), digests(out)
    assert before["model.safetensors"] != after["model.safetensors"]
    assert before["1_LatentAttention/model.safetensors"] != after["1_LatentAttention/model.safetensors"]
