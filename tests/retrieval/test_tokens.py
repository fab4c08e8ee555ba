"""Batches cut from tokens are those that sentence-transformers makes of the texts themselves."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding, Transformer
from tokenizers import Tokenizer
from transformers import DataCollatorWithFlattening

from embedkit.retrieval.identity import VectorIdentity
from embedkit.retrieval.tokens import Layout, Tokens, can_tokenise, reader, tokenise
from tests.tiny import WORDS

TEXTS = [" ".join(WORDS[i % 40 : i % 40 + 1 + i % 9]) for i in range(20)] + ["", " ".join(WORDS)]
BATCHES = [np.array([3]), np.array([20]), np.array([21, 0, 5, 5]), np.arange(22)[::-1].copy()]
CPU = torch.device("cpu")


def identity(prompt="", task="document"):
    return VectorIdentity("m" * 64, task, prompt, None, "float32", "torch", None, True)


@pytest.fixture
def model(tiny_model):
    return SentenceTransformer(str(tiny_model), device="cpu")


@pytest.mark.parametrize("prompt", ["", "show file "])
@pytest.mark.parametrize("side", ["right", "left"])
def test_padded_batches(model, prompt, side):
    model.tokenizer.padding_side = side
    tokens = tokenise(model, TEXTS, identity(prompt)).on(CPU, Layout.of(model))
    for rows in BATCHES:
        expected = model.preprocess([TEXTS[row] for row in rows], prompt=prompt, task="document")
        found = tokens.batch(rows)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            if isinstance(value, torch.Tensor):
                assert found[name].dtype == value.dtype
                assert (found[name] == value).all()
            else:
                assert found[name] == value


def test_lengths_of_queries_and_documents_apply(model):
    model[0].query_length = 5
    assert tokenise(model, TEXTS, identity(task="query")).counts.max() == 5
    assert tokenise(model, TEXTS, identity()).counts.max() == 32


@pytest.mark.parametrize("first", [0, 2])
def test_flat_batches(model, first):
    """As of models with variable-length flash attention, whose tokens come end to end from the start."""
    padded = tokenise(model, TEXTS, identity())
    lists = np.split(padded.columns["input_ids"], np.cumsum(padded.counts)[:-1])
    collator = DataCollatorWithFlattening(return_seq_idx=True, return_flash_attn_kwargs=True, return_position_ids=True)

    def flattened(rows):
        features = collator([{"input_ids": lists[row].tolist()} for row in rows])
        features.pop("labels")
        return features | {"position_ids": features["position_ids"] + first, "modality": "text"}

    stub = SimpleNamespace(preprocess=lambda texts, **_: flattened(range(len(texts))))
    flat = tokenise(stub, TEXTS, identity())
    assert (flat.counts == padded.counts).all()
    layout = Layout({}, left=False, flat=True, first_position=first)
    for rows in BATCHES:
        expected, found = flattened(rows), flat.on(CPU, layout).batch(rows)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            if isinstance(value, torch.Tensor):
                assert (found[name].shape, found[name].dtype) == (value.shape, value.dtype)
                assert (found[name] == value).all()
            else:
                assert found[name] == value


def test_only_plain_text_transformers_are_tokenised_here(model, tiny_model):
    assert can_tokenise(model)
    model[0].processing_kwargs = {"text": {"padding": "max_length"}}
    assert not can_tokenise(model)
    model[0].processing_kwargs = {}
    model.tokenizer.pad_token = None
    assert not can_tokenise(model)
    reading, static = Transformer(str(tiny_model)), StaticEmbedding(tokenizer_of(tiny_model), embedding_dim=32)
    assert can_tokenise(SentenceTransformer(modules=[static], device="cpu"))
    routes = {"query": [static], "document": [reading, Pooling(32)]}
    router = SentenceTransformer(modules=[Router(routes, default_route="document")], device="cpu")
    assert [reader(router, task) for task in ("query", "document", None)] == [static, reading, reading]
    assert can_tokenise(router, "query")
    assert can_tokenise(router)
    reading.processing_kwargs = {"text": {"padding": "max_length"}}
    assert can_tokenise(router, "query")
    assert not can_tokenise(router, "document")
    assert not can_tokenise(router, "unheard of")  # for sentence-transformers to refuse
    routed = Router(routes, route_mappings={("query", None): "document"})
    assert not can_tokenise(SentenceTransformer(modules=[routed], device="cpu"), "query")


def tokenizer_of(folder):
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.mark.parametrize("prompt", ["", "show file "])
def test_batches_of_static_embeddings(tiny_model, prompt):
    static = StaticEmbedding(tokenizer_of(tiny_model), embedding_dim=8)
    model = SentenceTransformer(modules=[static], device="cpu")
    tokens = tokenise(model, TEXTS, identity(prompt)).on(CPU, Layout.of(model))
    for rows in BATCHES:
        expected = model.preprocess([TEXTS[row] for row in rows], prompt=prompt)
        found = tokens.batch(rows)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert (found[name] == value).all()
            assert found[name].dtype == value.dtype


@pytest.mark.parametrize("task", ["query", "document"])
def test_batches_of_a_tower_are_that_towers(tiny_model, task):
    static = StaticEmbedding(tokenizer_of(tiny_model), embedding_dim=32)
    router = Router.for_query_document([static], [Transformer(str(tiny_model)), Pooling(32)])
    model = SentenceTransformer(modules=[router], device="cpu")
    tokens = tokenise(model, TEXTS, identity(task=task)).on(CPU, Layout.of(model, task))
    for rows in BATCHES:
        expected, found = model.preprocess([TEXTS[row] for row in rows], task=task), tokens.batch(rows)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert (found[name] == value).all() if isinstance(value, torch.Tensor) else found[name] == value


def test_tokens_are_small():
    tokens = Tokens({"input_ids": np.zeros(3, dtype=np.int32)}, np.array([2, 1]), {})
    batch = tokens.on(CPU, Layout({"input_ids": 7}, left=False, flat=False, first_position=0)).batch(np.array([1, 0]))
    assert batch["input_ids"].tolist() == [[0, 7], [0, 0]]
