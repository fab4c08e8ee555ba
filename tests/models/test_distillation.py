import numpy as np
import pytest
import torch

from embedkit.core.errors import ModelError
from embedkit.core.progress import silent
from embedkit.models.distillation import reduced, token_vectors, zipf_weights
from embedkit.models.stage import Static
from embedkit.retrieval.loading import load_model


def test_weights_in_numbers():
    """Three tokens: 1/2, 1/3 and 1/4 of 13/12."""
    expected = [0.1 / (0.1 + p) for p in (6 / 13, 4 / 13, 3 / 13)]
    np.testing.assert_allclose(zipf_weights(3, 0.1), expected, rtol=1e-6)
    assert (np.diff(zipf_weights(1000, 1e-4)) > 0).all()


def test_each_token_is_embedded_alone_between_its_special_tokens(tiny_model, tmp_path):
    model = load_model(tiny_model, device="cpu")
    found = token_vectors(model, silent)
    vocabulary = model.tokenizer.get_vocab()
    assert found.shape == (len(vocabulary), 32)
    for word in ("list", "file", "z"):
        features = model.tokenizer(word, return_tensors="pt")
        assert features["input_ids"].shape == (1, 3)
        with torch.no_grad():
            expected = model[0].model(**features).last_hidden_state.mean(dim=1)[0]
        np.testing.assert_allclose(found[vocabulary[word]], expected, atol=1e-5)


def test_principal_components_keep_distances_and_come_in_order():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 10))  # in a space of three dimensions
    found = reduced(flat.astype(np.float32), 3)
    before = np.linalg.norm(flat[:, None] - flat[None], axis=2)
    np.testing.assert_allclose(np.linalg.norm(found[:, None] - found[None], axis=2), before, atol=1e-4)
    assert (np.diff(found.var(axis=0)) <= 0).all()
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-5)
    with pytest.raises(
        ModelError, match=r"50 token vectors of 10 numbers have no 11 principal components; set at most 10"
    ):
        reduced(flat.astype(np.float32), 11)


def test_distilled_models_are_those_vectors(make, tiny_model):
    plain = Static.model_validate({"model": "base", "dimensions": 8, "vectors": {"kind": "distilled", "sif": None}})
    weighed = Static(model="base", dimensions=8)
    model = load_model(tiny_model, device="cpu")
    expected = reduced(token_vectors(model, silent), 8)
    tables = [load_model(make(stage, base=tiny_model), device="cpu")[0].embedding for stage in (plain, weighed)]
    np.testing.assert_allclose(tables[0].weight.detach(), expected, atol=1e-5)
    weights = zipf_weights(len(expected), 1e-4)[:, None]
    np.testing.assert_allclose(tables[1].weight.detach(), expected * weights, atol=1e-6)


def test_vectors_are_computed_in_full_of_a_model_stored_in_half(make, tiny_model, tmp_path):
    model, tables = load_model(tiny_model, device="cpu").bfloat16(), []
    for name in ("half", "full"):
        model.save(str(tmp_path / name), create_model_card=False)
        folder = make(Static(model="base", dimensions=8), base=tmp_path / name)
        tables.append(load_model(folder, device="cpu")[0].embedding.weight)
        model.float()
    assert torch.equal(*tables)


def test_a_static_model_reads_all_of_a_text(make, tiny_model):
    model = load_model(make(Static(model="base", dimensions=8), base=tiny_model), device="cpu")
    assert len(model.preprocess(["list " * 500])["input_ids"]) == 500
