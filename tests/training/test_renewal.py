import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedkit.core.errors import ArtifactError, StageError
from embedkit.training.renewal import Renewals, Weights, embed
from embedkit.training.topics import Orders

TEXTS = ["list show copy", "move", "find sort count print read write"] * 20


@pytest.fixture
def model(tiny_model):
    return SentenceTransformer(str(tiny_model), device="cpu")


def test_what_was_made_is_kept_and_not_made_again(tmp_path):
    made = []

    def make(value):
        made.append(value)
        return np.arange(3) * value

    renewals = Renewals(tmp_path / "clusters" / "0")
    assert renewals.get(2, lambda: make(5)).tolist() == [0, 5, 10]
    assert renewals.get(2, lambda: make(7)).tolist() == [0, 5, 10]
    again = Renewals(tmp_path / "clusters" / "0")
    assert again.get(2, lambda: make(7)).tolist() == [0, 5, 10]
    assert again.get(4, lambda: make(9)).tolist() == [0, 9, 18]
    assert made == [5, 9]
    assert {number: array.tolist() for number, array in again.kept().items()} == {2: [0, 5, 10], 4: [0, 9, 18]}


def test_what_was_not_sealed_is_made_again(tmp_path):
    events = []
    renewals = Renewals(tmp_path / "clusters" / "0", emit=lambda name, facts: events.append((name, facts["number"])))
    renewals.get(0, lambda: np.zeros(2))
    assert events == [("renewal_written", 0), ("renewal_saved", 0)]
    (tmp_path / "clusters" / "0" / "000000.json").unlink()
    assert Renewals(tmp_path / "clusters" / "0").get(0, lambda: np.ones(2)).tolist() == [1, 1]


def test_what_is_damaged_is_refused(tmp_path):
    folder = tmp_path / "clusters" / "0"
    Renewals(folder).get(0, lambda: np.zeros(2))
    np.save(folder / "000000.npy", np.ones(2))
    with pytest.raises(ArtifactError, match=f"changed since it was made.*delete {tmp_path} to train"):
        Renewals(folder).get(0, lambda: np.zeros(2))


def test_a_model_in_training_embeds_as_one_that_is_not(model):
    expected = model.encode_query(TEXTS, prompt="find: ")
    model.train()
    found = embed(model, TEXTS, prompt="find: ")
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_model_in_training_does_not_notice(model):
    model.train()
    model[0].eval()  # as a frozen part would be
    modes = [module.training for module in model.modules()]
    features = model.preprocess(["list show"])
    tokenizer = model.tokenizer.backend_tokenizer
    before = torch.get_rng_state(), random.getstate(), tokenizer.padding, tokenizer.truncation
    embed(model, TEXTS, prompt=None)
    after = torch.get_rng_state(), random.getstate(), tokenizer.padding, tokenizer.truncation
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert [module.training for module in model.modules()] == modes
    model(features)["sentence_embedding"].sum().backward()  # nothing is left of inference mode
    assert model[0].model.embeddings.word_embeddings.weight.grad is not None


def test_weights_follow_the_model(model, tiny_model, context):
    weights = Orders(tiny_model, context)._weights
    before = weights.queries(TEXTS, None)
    weights.follow(model, "float32")
    np.testing.assert_allclose(weights.queries(TEXTS, None), before, atol=1e-6)
    with torch.no_grad():
        model[0].model.embeddings.word_embeddings.weight.mul_(2)
    after = weights.queries(TEXTS, None)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), 1, atol=1e-5)


def test_the_start_is_in_the_embedding_store(tiny_model, context):
    events = []
    told = replace(context, emit=lambda name, facts: events.append(name))
    Orders(tiny_model, told)._weights.queries(TEXTS, "find: ")
    assert events
    events.clear()
    Orders(tiny_model, told)._weights.queries(TEXTS, "find: ")
    assert "shard_saved" not in events


def test_vectors_that_are_not_finite_end_the_training():
    with pytest.raises(StageError, match="not finite; lower learning_rate"):
        Weights(lambda texts, prompt: np.full((len(texts), 2), np.nan, dtype=np.float32)).queries(["a"], None)
