import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding, Transformer
from tokenizers import Tokenizer

from embedkit.core.errors import ModelError
from embedkit.retrieval import encoder as encoders
from embedkit.retrieval.encoder import open_encoder
from embedkit.retrieval.identity import CONFIG
from embedkit.retrieval.loading import load_model
from tests.tiny import WORDS

TEXTS = [" ".join(WORDS[i % 40 : i % 40 + 1 + i % 9]) for i in range(40)]


def configure(folder, **changes):
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | changes))
    return folder


@pytest.fixture
def no_loading(monkeypatch):
    monkeypatch.setattr(encoders, "load_model", lambda *_, **__: pytest.fail("loaded the model"))


@pytest.mark.parametrize("batch_tokens", [1, 50, 16_384])
def test_vectors_are_those_of_sentence_transformers(tiny_model, context, batch_tokens):
    found = open_encoder(tiny_model, context, batch_tokens=batch_tokens)
    model = SentenceTransformer(str(tiny_model), device="cpu")
    np.testing.assert_allclose(found.queries(TEXTS), model.encode_query(TEXTS), atol=1e-6)
    np.testing.assert_allclose(found.documents(TEXTS), model.encode_document(TEXTS), atol=1e-6)
    assert found.queries(TEXTS).dtype == np.float32
    assert found.similarity == "cosine"


def test_prompts_and_truncation_of_the_folder_apply(copy, context):
    configure(copy, prompts={"query": "find ", "document": "show "}, truncate_dim=8, similarity_fn_name="dot")
    found, model = open_encoder(copy, context), SentenceTransformer(str(copy), device="cpu")
    assert found.queries(TEXTS).shape == (40, 8)
    np.testing.assert_allclose(found.queries(TEXTS), model.encode_query(TEXTS), atol=1e-6)
    np.testing.assert_allclose(found.documents(TEXTS), model.encode_document(TEXTS), atol=1e-6)
    assert found.similarity == "dot"
    assert np.abs(found.queries(TEXTS) - found.documents(TEXTS)).max() > 1e-2


def test_cosine_vectors_have_unit_length_after_truncation(copy, context):
    found = open_encoder(configure(copy, truncate_dim=8), context)
    np.testing.assert_allclose(np.linalg.norm(found.queries(TEXTS), axis=1), 1, atol=1e-6)


def test_a_length_limit_applies(tiny_model, context):
    text = " ".join(WORDS[:20])
    short = open_encoder(tiny_model, context, max_length=6).documents([text])
    model = SentenceTransformer(str(tiny_model), device="cpu")
    model.max_seq_length = 6
    np.testing.assert_allclose(short, model.encode_document([text]), atol=1e-6)
    assert np.abs(short - open_encoder(tiny_model, context).documents([text])).max() > 1e-3


def test_a_second_model_never_gets_the_first_ones_vectors(tiny_model, other_tiny_model, tmp_path, context):
    """The trap of peers: caches named by path or by the base model in a model card."""
    place = tmp_path / "model"  # both models lie at the same path, with the same card, one after the other
    found = []
    for source in (tiny_model, other_tiny_model):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(source, place)
        (place / "README.md").write_text("base_model: the-same")
        found.append(open_encoder(place, context))
        expected = SentenceTransformer(str(source), device="cpu").encode_document(TEXTS)
        np.testing.assert_allclose(found[-1].documents(TEXTS), expected, atol=1e-6)
    assert found[0].identity != found[1].identity


def test_stored_vectors_need_no_model(tiny_model, context, no_loading, request):
    with pytest.raises(pytest.fail.Exception):
        open_encoder(tiny_model, context).documents(TEXTS)
    request.getfixturevalue("monkeypatch").undo()
    first = open_encoder(tiny_model, context).documents(TEXTS)
    request.getfixturevalue("monkeypatch").setattr(
        encoders, "load_model", lambda *_, **__: pytest.fail("loaded the model")
    )
    copy = shutil.copytree(tiny_model, context.work / "elsewhere")  # the same model in another place
    (copy / "README.md").write_text("another card")
    assert (open_encoder(copy, context).documents(TEXTS) == first).all()


def test_what_changes_vectors_changes_what_is_stored(tiny_model, context):
    plain = open_encoder(tiny_model, context)
    others = [
        {"precision": "bfloat16"},
        {"storage": "float16"},
        {"max_length": 6},
    ]
    found = plain.documents(TEXTS)
    for settings in others:
        other = open_encoder(tiny_model, context, **settings)
        assert other.identity != plain.identity
        assert 0 < np.abs(other.documents(TEXTS) - found).max() < (1 if "max_length" in settings else 0.02)
    for settings in ({"batch_tokens": 64}, {"workers": 2}):
        assert open_encoder(tiny_model, context, **settings).identity == plain.identity


RANK = """
import sys
from pathlib import Path
import torch
from accelerate import PartialState
from embedkit.core.stage import Context
from embedkit.retrieval import shards
from embedkit.retrieval.encoder import open_encoder
from tests.retrieval.test_encoder import TEXTS

torch.set_num_threads(1)
state, written = PartialState(cpu=True, backend="gloo"), []
assert (state.num_processes, torch.distributed.get_backend()) == (2, "gloo")
init = shards.EmbeddingStore.__init__
shards.EmbeddingStore.__init__ = lambda store, root: init(store, root, shard_rows=1)
folder = Path(sys.argv[2])
context = Context(work=folder, embeddings=folder / "embeddings", emit=lambda event, facts: written.append(event))
encoder = open_encoder(Path(sys.argv[1]), context)
encoder._load()  # loading takes longer than encoding; both are to begin together
state.wait_for_everyone()
vectors = encoder.documents(TEXTS)
counts = [None, None]
torch.distributed.all_gather_object(counts, (written.count("shard_written"), vectors.tobytes()))
assert counts[0][1] == counts[1][1]
if state.is_main_process:
    print(*(count for count, _ in counts), flush=True)
"""


def test_processes_of_accelerate_share_the_work(tiny_model, tmp_path):
    (tmp_path / "rank.py").write_text(RANK)
    launch = "-m torch.distributed.run --standalone --nproc_per_node 2".split()  # what `accelerate launch` runs
    command = [sys.executable, *launch, tmp_path / "rank.py", tiny_model, tmp_path]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    counts = [int(word) for word in done.stdout.split()[-2:]]
    assert sum(counts) == len(set(TEXTS))  # each was encoded once
    assert min(counts) > 0


def test_queries_and_documents_are_kept_apart(tmp_path, tiny_model, context):
    """An asymmetric model: same text, same (empty) prompt, other weights."""
    towers = [Transformer(str(tiny_model)), Transformer(str(tiny_model))]
    with torch.no_grad():
        next(towers[1].parameters()).mul_(-1)
    router = Router.for_query_document([towers[0], Pooling(32)], [towers[1], Pooling(32)])
    SentenceTransformer(modules=[router], device="cpu").save(str(tmp_path / "router"), create_model_card=False)
    found, model = open_encoder(tmp_path / "router", context), SentenceTransformer(str(tmp_path / "router"))
    np.testing.assert_allclose(found.queries(TEXTS), model.encode_query(TEXTS, normalize_embeddings=True), atol=1e-6)
    documents = model.encode_document(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(found.documents(TEXTS), documents, atol=1e-6)
    assert np.abs(found.queries(TEXTS) - found.documents(TEXTS)).max() > 1e-2


def test_a_model_without_attention_works(tiny_model, tmp_path, context):
    static = StaticEmbedding(Tokenizer.from_file(str(tiny_model / "tokenizer.json")), embedding_dim=16)
    SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path / "static"), create_model_card=False)
    expected = SentenceTransformer(str(tmp_path / "static"), device="cpu").encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(open_encoder(tmp_path / "static", context).documents(TEXTS), expected, atol=1e-6)


def test_a_model_stored_in_half_precision_computes_in_full(tiny_model, tmp_path, context):
    load_model(tiny_model, device="cpu").bfloat16().save(str(tmp_path / "half"), create_model_card=False)
    half = load_model(tmp_path / "half", device="cpu")
    assert half.dtype == torch.bfloat16
    found = open_encoder(tmp_path / "half", context).documents(TEXTS)
    np.testing.assert_allclose(found, half.float().encode_document(TEXTS), atol=1e-6)
    rough = open_encoder(tmp_path / "half", context, precision="bfloat16").documents(TEXTS)
    assert 1e-4 < np.abs(rough - found).max() < 0.02


def test_a_length_limit_is_for_models_that_cut_texts(tiny_model, tmp_path, context):
    static = StaticEmbedding(Tokenizer.from_file(str(tiny_model / "tokenizer.json")), embedding_dim=32)
    alone = SentenceTransformer(modules=[static], device="cpu")
    router = Router.for_query_document([static], [Transformer(str(tiny_model)), Pooling(32)])
    text = " ".join(WORDS[:20])
    for name, model in (("static", alone), ("towers", SentenceTransformer(modules=[router], device="cpu"))):
        model.save(str(tmp_path / name), create_model_card=False)
    with pytest.raises(ModelError, match="max_length is 6, but the model reads all of a text; leave it out"):
        open_encoder(tmp_path / "static", context, max_length=6).documents([text])
    short, whole = (open_encoder(tmp_path / "towers", context, max_length=length) for length in (6, None))
    np.testing.assert_array_equal(short.queries([text]), whole.queries([text]))
    assert np.abs(short.documents([text]) - whole.documents([text])).max() > 1e-3


def test_vectors_of_a_tower_are_shared_with_the_model_it_was(tiny_model, other_tiny_model, tmp_path, context):
    routes = [list(load_model(folder, device="cpu")) for folder in (tiny_model, other_tiny_model)]
    router = Router.for_query_document(*routes)
    SentenceTransformer(modules=[router], device="cpu").save(str(tmp_path / "towers"), create_model_card=False)
    expected = open_encoder(other_tiny_model, context).documents(TEXTS)
    towers = open_encoder(tmp_path / "towers", context)
    towers._load = lambda: pytest.fail("loaded the model")
    np.testing.assert_array_equal(towers.documents(TEXTS), expected)


def test_no_texts_give_no_vectors(tiny_model, context, no_loading):
    assert open_encoder(tiny_model, context).queries([]).shape == (0, 0)


def test_weights_that_give_nan_are_told_and_nothing_is_stored(copy, context):
    from safetensors.torch import load_file, save_file

    weights = {
        name: torch.full_like(tensor, float("nan")) for name, tensor in load_file(copy / "model.safetensors").items()
    }
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="not finite for 40 of 40 texts"):
        open_encoder(copy, context).documents(TEXTS)
    assert not list(context.embeddings.rglob("*.npy"))
