import json
import random

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from embedkit.core.errors import DataError, StageError
from embedkit.core.estimate import Size
from embedkit.core.pairs import read_pairs, write_pairs
from embedkit.core.spec import identity
from embedkit.core.stats import read_stats
from embedkit.core.store import digests
from embedkit.losses import InfoNCE, MarginMSE, SoftLabelInfoNCE
from embedkit.training.plain import TrainST
from embedkit.training.schedules import Cosine
from embedkit.training.stage import Train
from tests.training.runs import TRAIN, TRAIN_ST, run, scored_pairs


@pytest.fixture(scope="module")
def pairs(tiny_dataset, tmp_path_factory):
    return scored_pairs(tiny_dataset.path, tmp_path_factory.mktemp("pairs"))


@pytest.mark.parametrize(
    "stage",
    [
        TRAIN.model_copy(update={"loss": InfoNCE()}),
        TRAIN.model_copy(update={"loss": SoftLabelInfoNCE(), "chunk_size": 8}),
        TRAIN.model_copy(update={"loss": MarginMSE(), "vary_negatives": True}),
        TRAIN.model_copy(update={"precision": "bf16", "schedule": Cosine()}),
        TRAIN_ST,
    ],
    ids=["infonce", "soft label, chunked", "margin mse", "bf16", "train_st"],
)
def test_training_changes_the_weights_and_lowers_the_loss(stage, tiny_model, pairs, tmp_path):
    longer = stage.model_copy(update={"steps": 30})
    events = []
    out = run(longer, tiny_model, pairs, tmp_path, lambda name, facts: events.append((name, facts)))
    before, after = load_file(tiny_model / "model.safetensors"), load_file(out / "model.safetensors")
    assert before.keys() == after.keys()
    assert not torch.equal(*(w["encoder.layer.1.attention.self.query.weight"] for w in (before, after)))
    stats = read_stats(out)
    losses = [entry["loss"] for entry in stats["history"]]
    assert np.mean(losses[-5:]) < 0.95 * np.mean(losses[:5])
    assert [entry["step"] for entry in stats["history"]] == list(range(1, 31))
    assert [facts for name, facts in events if name == "step"] == stats["history"]
    assert [facts["step"] for name, facts in events if name == "checkpoint_saved"] == [*range(3, 31, 3)]


def test_the_artifact_is_an_ordinary_model_folder_and_nothing_else(tiny_model, pairs, tmp_path):
    from sentence_transformers import SentenceTransformer

    prompted = SentenceTransformer(str(tiny_model), device="cpu", prompts={"query": "find ", "document": "page "})
    prompted.save(str(tmp_path / "prompted"), create_model_card=False)
    out = run(TRAIN, tmp_path / "prompted", pairs, tmp_path)
    before, after = digests(tmp_path / "prompted"), digests(out)
    assert after.keys() - before.keys() == {"stats.json"}
    assert {name for name in before if before[name] != after.get(name)} == {"model.safetensors"}
    assert SentenceTransformer(str(out), device="cpu").prompts == {"query": "find ", "document": "page "}
    assert read_stats(out)["prompts"] == {"query": "find ", "document": "page "}
    assert not [p for p in out.rglob("*") if p.is_file() and str(tmp_path).encode() in p.read_bytes()]


@pytest.mark.parametrize("stage", [TRAIN, TRAIN_ST], ids=lambda stage: stage.kind)
def test_same_seed_same_bytes_however_often_checkpoints_are_saved(stage, tiny_model, pairs, tmp_path):
    first = digests(run(stage, tiny_model, pairs, tmp_path / "a"))
    again = digests(run(stage.model_copy(update={"checkpoint_every": 5}), tiny_model, pairs, tmp_path / "b"))
    other = digests(run(stage.model_copy(update={"seed": 4}), tiny_model, pairs, tmp_path / "c"))
    assert first == again
    assert first["model.safetensors"] != other["model.safetensors"]


def test_the_process_keeps_its_randomness(tiny_model, pairs, tmp_path):
    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002

    before = states()
    run(TRAIN.model_copy(update={"steps": 2}), tiny_model, pairs, tmp_path)
    assert states() == before


def test_prints_nothing(tiny_model, pairs, tmp_path, capfd):
    run(TRAIN.model_copy(update={"steps": 2}), tiny_model, pairs, tmp_path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("stage", [TRAIN, TRAIN_ST], ids=lambda stage: stage.kind)
def test_a_loss_that_is_not_finite_stops_and_names_the_batch(stage, tiny_model, pairs, tmp_path):
    wild = stage.model_copy(update={"learning_rate": 1e30, "warmup": 0.0, "max_grad_norm": 1e30})
    with pytest.raises(StageError, match=r"step \d+ is not a finite number"):
        run(wild, tiny_model, pairs, tmp_path)
    found = json.loads((tmp_path / "work" / "nan-batch.json").read_text())
    assert found["step"] > 1
    rows = found["queries"] if stage.kind == "train" else found["rows"]
    assert len(rows) == 16
    assert {row["id"] for row in rows} <= set(read_pairs(pairs).queries.ids)


def test_stats_say_what_was_trained_on(tiny_model, pairs, tmp_path):
    stats = read_stats(run(TRAIN, tiny_model, pairs, tmp_path))
    rows = len(read_pairs(pairs).rows)
    assert stats["counts"] == {"steps": 14, "rows": rows, "rows_seen": 14 * 16, "negatives_per_query": 2.0}
    assert stats["loss"]["kind"] == "infonce"
    assert stats["summary"][0].startswith(f"14 steps over 224 of {rows} rows, loss ")


def test_fewer_pairs_than_a_batch(tiny_model, tiny_dataset, tmp_path):
    for stage in (TRAIN, TRAIN_ST):
        with pytest.raises(DataError, match="cannot fill a batch of 1000"):
            run(stage.model_copy(update={"batch_size": 1000}), tiny_model, tiny_dataset.path, tmp_path / stage.kind)


def test_pairs_without_target_scores(tiny_model, tiny_dataset, tmp_path):
    with pytest.raises(DataError, match="rows without target scores"):
        run(TRAIN.model_copy(update={"loss": SoftLabelInfoNCE()}), tiny_model, tiny_dataset.path, tmp_path)


def test_empty_pairs(tiny_model, pairs, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    full = read_pairs(pairs)
    write_pairs(empty, type(full)(full.corpus, full.queries, []))
    with pytest.raises(DataError, match="it is empty"):
        run(TRAIN, tiny_model, empty, tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 3, "epochs": 1}, "both steps and epochs"),
        ({"loss": {"kind": "soft_label_infonce"}, "negatives": 0}, "negatives must not be 0"),
        ({"batch_size": 1}, "greater than or equal to 2"),
        ({"learning_rate": 0}, "greater than 0"),
        ({"loss": {"kind": "infonc"}}, "does not match any of the expected tags"),
        ({"warm_up": 0.1}, "Extra inputs"),
    ],
)
def test_mistakes_in_the_spec(fields, message):
    with pytest.raises(ValidationError, match=message):
        Train(model="m", pairs="p", **fields)


def test_only_what_changes_the_result_is_in_the_identity():
    plain = Train(model="m", pairs="p")
    keys = {"m": "1", "p": "2"}

    def of(stage: Train) -> str:
        return json.dumps(identity(stage, keys=keys, digests={}))

    same = {"chunk_size": 8, "checkpoint_every": 3, "device": "cpu"}
    assert of(Train(model="m", pairs="p", **same)) == of(plain)
    for change in ({"seed": 1}, {"batch_size": 16}, {"loss": {"kind": "infonce", "temperature": 0.1}}):
        assert of(Train(model="m", pairs="p", **change)) != of(plain)


def test_the_estimate_follows_steps_and_sizes():
    sizes = {
        "m": Size(parameters=1000, active_parameters=800, dimensions=8, max_tokens=20),
        "p": Size(pairs=100, query_tokens=10, document_tokens=50, documents_per_pair=4),
    }
    stage = Train(model="m", pairs="p", epochs=2, batch_size=10, negatives=1)
    estimate = stage.estimate(sizes)
    assert (estimate.steps, estimate.rows, estimate.tokens) == (20, 200, 20 * 10 * (10 + 2 * 20))
    assert estimate.flops == 2 * 3 * 800 * estimate.tokens
    chunked = stage.model_copy(update={"chunk_size": 2}).estimate(sizes)
    assert chunked.flops == 2 * 4 * 800 * estimate.tokens
    assert chunked.memory < estimate.memory
    assert estimate.size.parameters == 1000
    assert TrainST(model="m", pairs="p", steps=5).estimate(sizes).steps == 5
