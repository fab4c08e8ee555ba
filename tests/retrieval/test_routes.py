"""Which files of a folder a text's vector depends on."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize, Router

from embedkit.core.errors import ModelError
from embedkit.core.store import digests
from embedkit.retrieval.identity import digest_of_files, model_digest, model_digests
from embedkit.retrieval.loading import load_model
from embedkit.retrieval.model_folder import describe
from embedkit.retrieval.routes import Part, files_for, pipeline, router

POOLING = "sentence_transformers.sentence_transformer.modules.pooling.Pooling"


@pytest.fixture
def towers(tiny_model, other_tiny_model, tmp_path):
    """Queries by the one, documents by the other."""
    routes = [list(load_model(folder, device="cpu")) for folder in (tiny_model, other_tiny_model)]
    model = SentenceTransformer(modules=[Router.for_query_document(*routes)], device="cpu")
    model.save(str(tmp_path / "towers"), create_model_card=False)
    return tmp_path / "towers"


def change(path):
    weights = load_file(path)
    next(iter(weights.values())).view(-1)[0] += 1e-3
    save_file(weights, path, metadata={"format": "pt"})


def test_a_plain_model_is_all_of_its_files(tiny_model):
    assert router(tiny_model) is None
    assert [part.path for part in pipeline(tiny_model)] == ["", "1_Pooling", "2_Normalize"]
    files = digests(tiny_model)
    assert all(files_for(tiny_model, files, task) == files for task in ("query", "document", "text"))
    assert set(model_digests(tiny_model).values()) == {model_digest(tiny_model)}


def test_a_tower_has_the_digest_of_the_model_it_was(towers, tiny_model, other_tiny_model):
    found = model_digests(towers)
    assert found["query"] == model_digest(tiny_model)
    assert found["document"] == found["text"] == model_digest(other_tiny_model)
    assert model_digest(towers) not in found.values()


def test_one_towers_weights_do_not_move_the_others_digest(towers):
    before = model_digests(towers)
    change(towers / "query_0_Transformer" / "model.safetensors")
    after = model_digests(towers)
    assert after["query"] != before["query"]
    assert (after["document"], after["text"]) == (before["document"], before["text"])


@pytest.mark.parametrize(
    "place", ["document_0_Transformer/config.json", "document_1_Pooling/config.json", "document_0_Transformer/new.txt"]
)
def test_every_file_of_a_tower_counts(towers, place):
    before = model_digests(towers)
    with (towers / place).open("a") as file:
        file.write(" ")
    after = model_digests(towers)
    assert after["document"] != before["document"]
    assert after["query"] == before["query"]


def test_files_beside_the_towers_count_for_both(towers):
    before = model_digests(towers)
    (towers / "new.json").write_text("{}")
    assert all(model_digests(towers)[task] != before[task] for task in before)


def test_modules_after_the_router_belong_to_each(tiny_model, tmp_path):
    routes = [list(load_model(tiny_model, device="cpu"))[:2] for _ in range(2)]
    after = [Router.for_query_document(*routes), Normalize()]
    SentenceTransformer(modules=after, device="cpu").save(str(tmp_path / "m"), create_model_card=False)
    parts = pipeline(tmp_path / "m", "query")
    assert [part.path for part in parts] == ["query_0_Transformer", "query_1_Pooling", "1_Normalize"]
    assert parts[1] == Part(POOLING, "query_1_Pooling")
    assert model_digests(tmp_path / "m")["query"] == model_digest(tiny_model)


def test_a_part_that_towers_share_is_there_for_both(tiny_model, tmp_path):
    transformer, pooling, normalize = load_model(tiny_model, device="cpu")
    shared = Router.for_query_document([transformer, pooling, normalize], [transformer, pooling])
    SentenceTransformer(modules=[shared], device="cpu").save(str(tmp_path / "m"), create_model_card=False)
    before = model_digests(tmp_path / "m")
    assert before["query"] == model_digest(tiny_model) != before["document"]
    change(tmp_path / "m" / "query_0_Transformer" / "model.safetensors")
    assert all(model_digests(tmp_path / "m")[task] != before[task] for task in before)


def test_a_router_of_mapped_routes_is_all_of_its_files(towers):
    path = towers / "router_config.json"
    config = json.loads(path.read_text())
    config["parameters"]["route_mappings"] = {"('query', None)": "document"}
    path.write_text(json.dumps(config))
    assert set(model_digests(towers).values()) == {digest_of_files(digests(towers))}


def test_figures_are_the_document_towers(towers, other_tiny_model):
    card, own = describe(towers), describe(other_tiny_model)
    assert (card.dimensions, card.max_tokens) == (own.dimensions, own.max_tokens)
    assert card.parameters == 2 * own.parameters


def test_damage_is_one_line(towers):
    (towers / "router_config.json").write_text('{"types": {}}')
    with pytest.raises(ModelError, match="its router's configuration should have types, structure and parameters"):
        pipeline(towers, "query")
    (towers / "modules.json").write_text('[{"path": ""}]')
    with pytest.raises(ModelError, match="should be a list of modules with name, path and type"):
        pipeline(towers)
    shutil.rmtree(towers)
    assert pipeline(towers) == []
