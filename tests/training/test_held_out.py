import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedkit.core.dataset import read_dataset
from embedkit.core.errors import DataError
from embedkit.measures.ranking import mean_scores
from embedkit.retrieval.encoder import open_encoder
from embedkit.retrieval.scoring import score_split
from embedkit.training.distributed import Gathered
from embedkit.training.early_stopping import Evaluation
from embedkit.training.held_out import HeldOut
from embedkit.training.prompts import Prompts

PLAIN = Prompts(None, None)


@pytest.fixture(scope="module")
def dataset(tiny_dataset):
    return read_dataset(tiny_dataset.path)


@pytest.fixture
def model(tiny_model):
    return SentenceTransformer(str(tiny_model), device="cpu")


def spec(**fields) -> Evaluation:
    return Evaluation(data="data", **fields)


@pytest.mark.parametrize("metric", ["ndcg@10", "mrr@3", "recall@5"])
def test_the_score_is_that_of_the_saved_model(metric, dataset, model, other_tiny_model, context):
    prompted = {"query": "find ", "document": "page "}
    held_out = HeldOut(spec(metric=metric), dataset, Prompts(**prompted))
    for step in range(2):
        model.prompts = prompted
        model.save(str(context.work / f"step-{step}"), create_model_card=False)
        encoder = open_encoder(context.work / f"step-{step}", context)
        expected = mean_scores(score_split(encoder, dataset, "dev", metrics=[metric]))[metric]
        assert held_out.score(model) == pytest.approx(expected, abs=1e-9)
        assert held_out.score(model) == held_out.score(model)
        model.load_state_dict(SentenceTransformer(str(other_tiny_model), device="cpu").state_dict())


def test_nothing_of_training_is_disturbed(dataset, model):
    model.train()
    model[0].model.embeddings.eval()  # a frozen part
    model.tokenizer.backend_tokenizer.enable_truncation(7)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    modes = [module.training for module in model.modules()]
    HeldOut(spec(), dataset, PLAIN).score(model)
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    assert before == after
    assert modes == [module.training for module in model.modules()]
    model(model.preprocess(["list show"]))["sentence_embedding"].sum().backward()  # no tensor of inference is left


def test_each_distinct_text_is_embedded_once_and_tokenised_once_for_all(dataset, model):
    corpus = replace(dataset.corpus, texts=[*dataset.corpus.texts[:-1], dataset.corpus.texts[0]])
    corpus = replace(corpus, titles=[*corpus.titles[:-1], corpus.titles[0]])
    held_out = HeldOut(spec(), replace(dataset, corpus=corpus), PLAIN)
    seen, tokenised = [], []
    model.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0]["input_ids"])))
    preprocess = model.preprocess
    model.preprocess = lambda texts, **others: tokenised.append(len(texts)) or preprocess(texts, **others)
    held_out.score(model)
    held_out.score(model)
    distinct = len(set(held_out.queries)) + len(dataset.corpus) - 1
    assert sum(seen) == 2 * distinct
    assert sum(tokenised) == distinct


@torch.no_grad()
def test_a_process_may_have_no_text(dataset, model, monkeypatch):
    column, _ = HeldOut(spec(queries=1), dataset, PLAIN)._columns
    expected = column.vectors(model)
    of_the_first = torch.from_numpy(expected)

    def gathered(parts):
        own = parts["rows"]
        return {"rows": Gathered(torch.cat([of_the_first, own]), (1, len(own)))}

    monkeypatch.setattr("embedkit.training.held_out.world_size", lambda: 2)
    monkeypatch.setattr("embedkit.training.held_out.rank", lambda: 1)
    monkeypatch.setattr("embedkit.training.held_out.gather", gathered)
    assert np.array_equal(column.vectors(model), expected)


def test_samples_are_seeded_and_keep_what_is_judged(dataset):
    held_out = HeldOut(spec(queries=5, documents=12), dataset, PLAIN, seed=1)
    again = HeldOut(spec(queries=5, documents=12), dataset, PLAIN, seed=1)
    other = HeldOut(spec(queries=5, documents=12), dataset, PLAIN, seed=2)
    assert held_out.qrels == again.qrels
    assert held_out.document_ids == again.document_ids
    assert held_out.qrels != other.qrels
    assert (len(held_out.qrels), len(held_out.document_ids)) == (5, 12)
    assert {doc for docs in held_out.qrels.values() for doc in docs} <= set(held_out.document_ids)
    few = HeldOut(spec(queries=5, documents=2), dataset, PLAIN)
    assert set(few.document_ids) == {doc for docs in few.qrels.values() for doc in docs}


def test_queries_that_are_trained_on_are_told(dataset):
    held_out = HeldOut(spec(), dataset, PLAIN)
    first, second = held_out.queries[:2]
    assert held_out.warnings(["another query"]) == []
    assert held_out.warnings([f"  {first.upper()} ", second, "another query"]) == [
        "evaluate: 2 of 24 queries of 'data' (dev) are also trained on, so the scores of this training are too good"
    ]


def test_a_split_without_judgements(dataset):
    without = replace(dataset, qrels={"train": dataset.qrels["train"]})
    with pytest.raises(DataError, match=r"evaluate: split 'dev' of 'data' has no judged queries; it has train"):
        HeldOut(spec(), without, PLAIN)


def test_weights_that_are_not_finite_score_nothing(dataset, model):
    with torch.no_grad():
        model[0].model.embeddings.word_embeddings.weight.fill_(torch.nan)
    assert HeldOut(spec(), dataset, PLAIN).score(model) == 0.0
