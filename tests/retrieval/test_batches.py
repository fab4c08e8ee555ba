"""Vectors equal those of sentence-transformers for every kind of model, whatever the batches."""

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Router
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, StaticEmbedding, Transformer
from tokenizers import Tokenizer

from embedkit.core.errors import ModelError
from embedkit.retrieval import batches
from embedkit.retrieval.batches import encode, token_batches
from embedkit.retrieval.identity import VectorIdentity
from tests.tiny import WORDS

TEXTS = [" ".join(WORDS[i % 40 : i % 40 + 1 + i % 9]) for i in range(40)]


def identity(task="document", prompt="", truncate_dim=None, normalize=True):
    return VectorIdentity("m" * 64, task, prompt, None, "float32", "torch", truncate_dim, normalize)


def prompt_left_out(folder):
    return [Transformer(str(folder)), Pooling(32, pooling_mode="mean", include_prompt=False)]


def several_poolings(folder):
    return [Transformer(str(folder)), Pooling(32, pooling_mode=("cls", "max", "lasttoken", "weightedmean"))]


def projected(folder):
    return [Transformer(str(folder)), Pooling(32), Dense(32, 12), Normalize()]


def routed(folder):
    towers = [Transformer(str(folder)), Transformer(str(folder))]
    with torch.no_grad():
        next(towers[1].parameters()).mul_(-1)
    return [Router.for_query_document([towers[0], Pooling(32)], [towers[1], Pooling(32)])]


def without_attention(folder):
    return [StaticEmbedding(Tokenizer.from_file(str(folder / "tokenizer.json")), embedding_dim=16)]


KINDS = [prompt_left_out, several_poolings, projected, routed, without_attention]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", ["query", "document"])
@pytest.mark.parametrize("settings", [{}, {"prompt": "show file "}, {"truncate_dim": 5}, {"normalize": False}])
def test_vectors_are_those_of_sentence_transformers(tiny_model, kind, task, settings):
    model = SentenceTransformer(modules=kind(tiny_model), device="cpu")
    wanted = identity(task, **settings)
    found = list(encode(model, iter([TEXTS[:25], TEXTS[25:]]), wanted, batch_tokens=64))
    assert [len(part) for part in found] == [25, 15]
    assert {part.dtype for part in found} == {np.dtype("float32")}
    expected = (model.encode_query if task == "query" else model.encode_document)(
        TEXTS, prompt=wanted.prompt, normalize_embeddings=wanted.normalize, truncate_dim=wanted.truncate_dim
    )
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-5)


def test_plain_models_are_tokenised_once(tiny_model, monkeypatch):
    model, read = SentenceTransformer(str(tiny_model), device="cpu"), []
    preprocess = model.preprocess
    monkeypatch.setattr(model, "preprocess", lambda texts, **how: read.extend(texts) or preprocess(texts, **how))
    list(encode(model, [TEXTS], identity(), batch_tokens=64))
    assert read == TEXTS


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_texts_give_the_same_bytes(tiny_model, workers):
    model = SentenceTransformer(str(tiny_model), device="cpu")
    (first,) = encode(model, [TEXTS], identity())
    _, again = encode(model, [TEXTS[:7], TEXTS], identity(), workers=workers)
    assert first.tobytes() == again.tobytes()


def test_too_large_a_batch_for_a_gpu_is_one_line(tiny_model, monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setattr(batches, "_forward", fail)
    model = SentenceTransformer(str(tiny_model), device="cpu")
    with pytest.raises(ModelError, match="set a smaller `batch_tokens`"):
        list(encode(model, [TEXTS], identity()))


def test_batches_hold_every_row_once_within_the_budget():
    counts = np.random.default_rng(0).integers(1, 60, 200)
    found = list(token_batches(counts, 100))
    assert sorted(np.concatenate(found).tolist()) == list(range(200))
    assert all(len(batch) * counts[batch].max() <= 100 for batch in found)
    assert [batch.tolist() for batch in token_batches(np.array([500, 3]), 100)] == [[0], [1]]
