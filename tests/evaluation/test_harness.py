"""mteb on our data and vectors: equal to mteb on its own, and free of its identity trap."""

import json
import random
import shutil

import numpy as np
import pytest
import torch

from embedkit.core.errors import StageError
from embedkit.core.records import Corpus, Dataset, Queries, read_dataset
from embedkit.evaluation.containment import contained
from embedkit.measures.ranking import mean_scores, per_query
from embedkit.retrieval.encoder import load_model, open_encoder

with contained():
    import mteb

    from embedkit.evaluation.harness import DatasetTask, StoreEncoder, check_agreement, evaluate


@pytest.fixture
def dataset(tiny_dataset):
    return read_dataset(tiny_dataset.path)


@pytest.fixture(autouse=True)
def _contained():
    with contained():
        yield


def encoder_of(model, dataset, context):
    return StoreEncoder(open_encoder(model, context), dataset.corpus.full_texts())


def mteb_alone(model, task, cache=None):
    """The main score as mteb finds it for a plainly loaded model."""
    result = mteb.evaluate(load_model(model, device="cpu"), task, cache=cache, show_progress_bar=False)
    return result.task_results[0].get_score()


def test_scores_are_those_of_mteb_with_a_plainly_loaded_model(tiny_model, dataset, tmp_path, context):
    task = DatasetTask(dataset, "test", "r")
    scores, run = evaluate(encoder_of(tiny_model, dataset, context), task, tmp_path / "predictions")
    assert scores["main_score"] == scores["ndcg_at_10"] == mteb_alone(tiny_model, task)
    assert 0.05 < scores["main_score"] < 1
    assert run.keys() == dataset.qrels["test"].keys()
    assert all(len(documents) == len(dataset.corpus) for documents in run.values())


def test_prompts_and_similarity_are_the_models_own(tiny_model, dataset, tmp_path, context):
    model = shutil.copytree(tiny_model, tmp_path / "prompted")
    config = json.loads((model / "config_sentence_transformers.json").read_text())
    config |= {"prompts": {"query": "list log ", "document": "memory "}, "similarity_fn_name": "dot"}
    (model / "config_sentence_transformers.json").write_text(json.dumps(config))
    task = DatasetTask(dataset, "test", "r")
    scores, _ = evaluate(encoder_of(model, dataset, context), task, tmp_path / "predictions")
    assert scores["main_score"] == mteb_alone(model, task) != mteb_alone(tiny_model, task)


def test_per_query_scores_average_to_those_of_mteb(tiny_model, dataset, tmp_path, context):
    metrics = ("ndcg@10", "mrr@10", "recall@100", "map@100", "ndcg@3", "recall@5")
    scores, run = evaluate(encoder_of(tiny_model, dataset, context), DatasetTask(dataset, "dev", "r"), tmp_path / "p")
    means = mean_scores(per_query(run, dataset.qrels["dev"], metrics))
    for metric in metrics:
        assert means[metric] == pytest.approx(scores[metric.replace("@", "_at_")], abs=1e-5)
    check_agreement(means, scores)


def test_disagreement_is_an_error():
    check_agreement({"ndcg@10": 0.50004, "ndcg@7": 0.1}, {"ndcg_at_10": 0.5, "ndcg_at_100": 0.9})
    with pytest.raises(StageError, match=r"ndcg@10 is 0\.500200 from per-query scores but 0\.500000 by mteb"):
        check_agreement({"ndcg@10": 0.5002}, {"ndcg_at_10": 0.5})


def test_the_identity_trap_is_mtebs_and_not_ours(tiny_model, other_tiny_model, dataset, tmp_path, context):
    """With a result cache, mteb gives a second local model the score of the first; not if it is a `StoreEncoder`."""
    task = DatasetTask(dataset, "test", "r")
    true = [mteb_alone(model, task) for model in (tiny_model, other_tiny_model)]
    assert true[0] != true[1]
    cache = mteb.ResultCache(tmp_path / "plain")
    assert [mteb_alone(model, task, cache) for model in (tiny_model, other_tiny_model)] == [true[0], true[0]]
    cache = mteb.ResultCache(tmp_path / "ours")
    ours = [encoder_of(model, dataset, context) for model in (tiny_model, other_tiny_model)]
    found = [mteb.evaluate(e, task, cache=cache, show_progress_bar=False).task_results[0].get_score() for e in ours]
    assert found == true
    assert len({encoder.mteb_model_meta.revision for encoder in ours}) == 2


def test_graded_queries_without_qrels_and_empty_titles(tiny_model, tmp_path, context):
    """Only judged queries are searched; documents are the texts that mining encodes, with and without a title."""
    dataset = Dataset(
        Corpus(["a", "b", "c"], ["list", "", "open "], ["file folder", " copy image ", "disk"]),
        Queries(["q0", "q1", "q2"], ["list file", "copy image", "open disk"]),
        {"test": {"q2": {"c": 2, "a": 1}, "q0": {"a": 1, "b": 0}}},
    )
    encoder = encoder_of(tiny_model, dataset, context)
    scores, run = evaluate(encoder, DatasetTask(dataset, "test", "r"), tmp_path / "predictions")
    assert sorted(run) == ["q0", "q2"]
    means = mean_scores(per_query(run, dataset.qrels["test"], ("ndcg@10",)))
    assert means["ndcg@10"] == pytest.approx(scores["ndcg_at_10"], abs=1e-5)


def test_a_corpus_in_many_chunks_is_asked_for_once(tiny_model, dataset, context, monkeypatch):
    requests = []
    encoder = open_encoder(tiny_model, context)
    documents = type(encoder).documents
    monkeypatch.setattr(
        type(encoder), "documents", lambda self, texts: requests.append(len(texts)) or documents(self, texts)
    )
    task = DatasetTask(dataset, "test", "r")
    store = StoreEncoder(encoder, dataset.corpus.full_texts())
    search = mteb.models.SearchEncoderWrapper(store, corpus_chunk_size=7)
    found = mteb.evaluate(search, task, cache=None, show_progress_bar=False).task_results[0].get_score()
    whole = mteb.evaluate(store, task, cache=None, show_progress_bar=False).task_results[0].get_score()
    assert found == whole
    assert requests == [len(dataset.corpus)]


def test_predictions_of_an_interrupted_run_are_not_mixed_in(tiny_model, dataset, tmp_path, context):
    encoder, task = encoder_of(tiny_model, dataset, context), DatasetTask(dataset, "test", "r")
    first = evaluate(encoder, task, tmp_path / "predictions")
    (tmp_path / "predictions" / "LocalRetrieval_predictions.json").write_text("{ cut off")
    assert evaluate(encoder, task, tmp_path / "predictions") == first


def test_global_generators_are_as_before(dataset):
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    with contained():
        DatasetTask(dataset, "test", "r")
        assert torch.get_rng_state().tolist() != states[2]
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002
