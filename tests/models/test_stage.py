import json
import shutil

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedkit.core.errors import ModelError
from embedkit.core.estimate import Size
from embedkit.core.stats import read_stats
from embedkit.core.store import digests
from embedkit.models.attention import attention_of
from embedkit.models.stage import Backbone, Static, Towers
from embedkit.modules import LATENT_ATTENTION, LAYERWISE_POOLING
from embedkit.retrieval.encoder import open_encoder
from embedkit.retrieval.loading import load_model
from tests.tiny import WORDS

TEXTS = [" ".join(WORDS[i : i + 1 + i % 7]) for i in range(20)]
POOLINGS = {
    "mean": {"kind": "mean"},
    "cls": {"kind": "cls"},
    "lasttoken": {"kind": "lasttoken"},
    "latent_attention": {"kind": "latent_attention", "latents": 8, "heads": 2},
    "layerwise": {"kind": "layerwise", "latents": 4, "heads": 2},
}


def backbone(**fields) -> Backbone:
    return Backbone.model_validate({"model": "base", **fields})


def modules(folder):
    return [entry["type"].rpartition(".")[2] for entry in json.loads((folder / "modules.json").read_text())]


@pytest.mark.parametrize("pooling", POOLINGS.values(), ids=POOLINGS)
def test_a_backbone_of_any_pooling(make, tiny_decoder, context, pooling):
    fields = {"attention": "bidirectional", "pooling": pooling, "projection": [24, 16], "max_length": 20, "seed": 3}
    out = make(backbone(**fields), base=tiny_decoder)
    assert modules(out)[0] == "Transformer"
    assert modules(out)[2:] == ["Dense", "Dense", "Normalize"]
    model = load_model(out, device="cpu")
    assert attention_of(model[0].model) == "bidirectional"
    assert (model.max_seq_length, model.get_embedding_dimension()) == (20, 16)
    found = open_encoder(out, context).documents(TEXTS)
    np.testing.assert_allclose(found, model.encode_document(TEXTS), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    stats = read_stats(out)
    assert (stats["dimensions"], stats["max_length"]) == (16, 20)
    assert stats["counts"]["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    again = make(backbone(**fields), base=tiny_decoder)
    assert digests(again) == digests(out)
    other = digests(make(backbone(**{**fields, "seed": 4}), base=tiny_decoder))
    assert {name for name, found in digests(out).items() if other[name] != found} == {
        f"{i}_{kind}/model.safetensors" for i, kind in enumerate(modules(out)) if kind not in NO_NEW_WEIGHTS
    }


NO_NEW_WEIGHTS = ("Transformer", "Pooling", "Normalize")


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pooling", POOLINGS.values(), ids=POOLINGS)
def test_padding_on_either_side_is_the_same(make, tiny_decoder, pooling, side):
    model = load_model(make(backbone(attention="bidirectional", pooling=pooling), base=tiny_decoder), device="cpu")
    model.tokenizer.padding_side = side
    alone = np.concatenate([model.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(model.encode(TEXTS, batch_size=20), alone, atol=1e-4)


def test_what_is_not_asked_for_stays(make, tiny_decoder):
    """All settings of the base but its pooling."""
    out = make(backbone(pooling={"kind": "lasttoken"}), base=tiny_decoder)
    same = {"model.safetensors", "config.json", "tokenizer.json", "modules.json", "1_Pooling/config.json"}
    assert {name for name, found in digests(tiny_decoder).items() if digests(out).get(name) == found} >= same
    assert attention_of(load_model(out, device="cpu")[0].model) == "causal"


def test_the_first_layers_of_either_kind_of_model(make, tiny_decoder, tiny_model):
    for base in (tiny_decoder, tiny_model):
        whole, out = load_model(base, device="cpu"), make(backbone(layers=1), base=base)
        first = load_model(out, device="cpu")
        features = whole.preprocess(TEXTS)
        with torch.no_grad():
            states = (
                whole[0]
                .model(
                    **{name: value for name, value in features.items() if isinstance(value, torch.Tensor)},
                    output_hidden_states=True,
                )
                .hidden_states
            )
            found = first[0](dict(features))["token_embeddings"]
        norm = getattr(whole[0].model, "norm", torch.nn.Identity())
        inside = features["attention_mask"].bool()
        torch.testing.assert_close(found[inside], norm(states[1])[inside], atol=1e-5, rtol=1e-4)
        assert first[0].model.config.num_hidden_layers == 1
        assert read_stats(out)["counts"]["parameters"] < sum(p.numel() for p in whole.parameters())


def test_instructions_are_read_but_not_pooled(make, tiny_decoder):
    """Their tokens are in the attention, so they change the vector, but not in the mean."""
    prompt = "list file : "
    for kind in ("mean", "latent_attention", "layerwise"):
        pooling = {**POOLINGS[kind], "include_prompt": False}
        out = make(backbone(attention="bidirectional", pooling=pooling), base=tiny_decoder)
        model = load_model(out, device="cpu")
        with_prompt = model.encode(TEXTS, prompt=prompt)
        features = model.preprocess(TEXTS, prompt=prompt)
        assert features["prompt_length"] == 3
        hidden = model[0](dict(features))
        rest = {name: hidden[name][:, 3:] for name in ("token_embeddings", "attention_mask")}
        rest["all_layer_embeddings"] = tuple(layer[:, 3:] for layer in hidden.get("all_layer_embeddings", ()))
        expected = model[1](rest)["sentence_embedding"].detach().numpy()
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(with_prompt, expected, atol=1e-5)
        assert np.abs(with_prompt - model.encode(TEXTS)).max() > 1e-3


def test_a_prompt_that_becomes_one_with_the_text_is_told(make, tiny_decoder, tmp_path):
    """A byte-level tokenizer makes "Query: list" of ["Query", ":", " list"], and of the prompt alone three tokens."""
    folder = shutil.copytree(tiny_decoder, tmp_path / "base")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"] = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}"] = vocabulary.pop(
        "b"
    )  # a space, as byte-level ones write it
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    settings = folder / "config_sentence_transformers.json"
    about = {"prompts": {"query": "list: ", "document": "", "tight": "list:"}}
    settings.write_text(json.dumps(json.loads(settings.read_text()) | about))
    for include, told in ((False, ["query prompt 'list: ': its end becomes one token with the"]), (True, [])):
        out = make(backbone(pooling={"kind": "mean", "include_prompt": include}), base=folder)
        assert [warning[:57] for warning in read_stats(out)["warnings"]] == told
    model = load_model(out, device="cpu")
    assert model.preprocess(["list"], prompt="list: ")["prompt_length"] == 3  # of three and the end token
    assert model.preprocess(["list"], prompt="list: ")["input_ids"].shape == (1, 4)


def test_own_modules_are_loaded_without_trusting_a_folder(make, tiny_decoder, tmp_path):
    for kind, name in (("latent_attention", LATENT_ATTENTION), ("layerwise", LAYERWISE_POOLING)):
        out = make(backbone(pooling=POOLINGS[kind]), base=tiny_decoder)
        assert json.loads((out / "modules.json").read_text())[1]["type"] == name
        with pytest.raises(ValueError, match="trust_remote_code"):  # plain sentence-transformers wants to be told
            SentenceTransformer(str(out), device="cpu")
        model = load_model(out, device="cpu")
        assert f"{type(model[1]).__module__}.{type(model[1]).__name__}" == name
        model.save(str(tmp_path / kind), create_model_card=False)
        assert np.array_equal(load_model(tmp_path / kind, device="cpu").encode(TEXTS), model.encode(TEXTS))
        told = SentenceTransformer(str(out), device="cpu", trust_remote_code=True)  # as an installed package's class
        assert np.array_equal(told.encode(TEXTS), model.encode(TEXTS))


def test_dot_product_models_are_not_normalised(make, tiny_decoder):
    model = load_model(make(backbone(normalize=False), base=tiny_decoder), device="cpu")
    assert "Normalize" not in [type(module).__name__ for module in model]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layers": 5}, "layers: the model has 2, 5 cannot be kept"),
        ({"max_length": 100}, "max_length is 100; the model has positions for 64 tokens"),
        ({"pooling": {"kind": "layerwise", "heads": 5}}, "5 heads cannot share the model's 32 dimensions evenly"),
        ({"pooling": {"kind": "latent_attention", "heads": 3}}, "3 heads cannot share the model's 32 dimensions"),
    ],
)
def test_what_cannot_be_is_one_line(make, tiny_decoder, fields, message):
    with pytest.raises(ModelError, match=message) as error:
        make(backbone(**fields), base=tiny_decoder)
    assert "\n" not in str(error.value)


def test_a_static_model_has_no_tokens_to_pool(make, tiny_model):
    static = make(Static(model="base", dimensions=8), base=tiny_model)
    for stage in (backbone(), Static(model="base")):
        with pytest.raises(ModelError, match=r"begins with a StaticEmbedding; a backbone is a transformer"):
            make(stage, base=static)


def test_towers_embed_each_with_its_own(make, tiny_model, tiny_decoder, context):
    out = make(Towers(query="small", document="large"), small=tiny_model, large=tiny_decoder)
    towers, small, large = (open_encoder(folder, context) for folder in (out, tiny_model, tiny_decoder))
    np.testing.assert_array_equal(towers.queries(TEXTS), small.queries(TEXTS))
    np.testing.assert_array_equal(towers.documents(TEXTS), large.documents(TEXTS))
    assert read_stats(out)["counts"]["parameters"] == sum(p.numel() for p in load_model(out, device="cpu").parameters())


def test_towers_keep_the_prompts_of_each(make, tiny_model, tmp_path):
    prompted = []
    for name in ("query", "document"):
        model = load_model(tiny_model, device="cpu")
        model.prompts = {"query": f"{name} asks", "document": f"{name} tells", "any": f"{name} says"}
        model.default_prompt_name = "any"
        model.save(str(tmp_path / name), create_model_card=False)
        prompted.append(tmp_path / name)
    out = make(Towers(query="q", document="d"), q=prompted[0], d=prompted[1])
    expected = {"query": "query asks", "document": "document tells", "any": "document says"}  # which embeds such texts
    assert load_model(out, device="cpu").prompts == expected


def test_tied_towers_have_one_transformer(make, tiny_decoder, tiny_model, context):
    heads = [make(backbone(projection=[8], seed=seed), base=tiny_decoder) for seed in (1, 2)]
    out = make(Towers(query="q", document="d", tied=True), q=heads[0], d=heads[1])
    model = load_model(out, device="cpu")
    assert model[0].sub_modules["query"][0] is model[0].sub_modules["document"][0]
    towers = open_encoder(out, context)
    for task, head in zip(("queries", "documents"), heads, strict=True):
        expected = getattr(open_encoder(head, context), task)(TEXTS)
        np.testing.assert_array_equal(getattr(towers, task)(TEXTS), expected)
    with pytest.raises(ModelError, match="tied: the transformers of the query and document models differ"):
        make(Towers(query="q", document="d", tied=True), q=tiny_model, d=tiny_decoder)


def test_towers_that_do_not_meet_are_told(make, tiny_model, tiny_decoder):
    narrow = make(backbone(projection=[16]), base=tiny_decoder)
    with pytest.raises(ModelError, match="dimensions of the query model is 32, of the document model 16; both must"):
        make(Towers(query="q", document="d"), q=tiny_model, d=narrow)
    towers = make(Towers(query="q", document="d"), q=tiny_model, d=tiny_decoder)
    with pytest.raises(ModelError, match="has towers of its own"):
        make(Towers(query="q", document="d"), q=towers, d=tiny_decoder)
    with pytest.raises(ModelError, match="begins with a Router"):
        make(backbone(), base=towers)


def test_random_static_vectors_are_seeded(make, tiny_decoder):
    made = [
        make(Static(model="base", dimensions=8, vectors={"kind": "random", "seed": seed}), base=tiny_decoder)
        for seed in (1, 1, 2)
    ]
    assert digests(made[0]) == digests(made[1])
    assert digests(made[0])["model.safetensors"] != digests(made[2])["model.safetensors"]
    assert read_stats(made[0])["summary"] == [
        "0.0 M parameters (0.0 M in embedding tables), 8 dimensions, no limit of length"
    ]
    counts = read_stats(made[0])["counts"]
    assert counts["parameters"] == counts["embedding_parameters"] == 8 * load_model(made[0])[0].num_embeddings


def test_estimates_follow_the_parts(make, tiny_decoder):
    base = Size(parameters=1000, active_parameters=800, dimensions=4, max_tokens=64)
    size = backbone(projection=[2], max_length=32, layers=2).estimate({"base": base}).size
    assert (size.dimensions, size.max_tokens, size.active_parameters, size.parameters) == (2, 32, 384, 584)
    small = Size(parameters=100, active_parameters=80, dimensions=4)
    towers = Towers(query="q", document="d").estimate({"q": small, "d": base}).size
    assert (towers.parameters, towers.active_parameters) == (1100, 800)
    static = Static(model="base", dimensions=8).estimate({"base": base})
    assert (static.size.parameters, static.size.active_parameters, static.size.max_tokens) == (400, 0, 0)
    assert static.flops > 0
