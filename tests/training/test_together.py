"""The same training in one process and in two, through the trainer. Dropout is off."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from embedkit.core.errors import DataError, StageError
from embedkit.core.stage import Context
from embedkit.core.stats import read_stats
from embedkit.core.store import digests
from embedkit.data.stage import Data
from embedkit.training.stage import Train
from tests.tiny import build_tiny_beir, build_tiny_model, write_jsonl
from tests.training import together
from tests.training.runs import run, scored_pairs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What the processes read, and what they made."""
    place = tmp_path_factory.mktemp("together")
    for name, seed in (("model", 0), ("guide", 1)):
        shutil.move(build_tiny_model(place / f"tiny {name}", seed=seed), place / name)
    config = json.loads((place / "model" / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (place / "model" / "config.json").write_text(json.dumps(config))
    scored_pairs(classified(place / "data"), place / "pairs")
    with pytest.raises(together.PowerCut):
        together.together(
            together.INTERRUPTED, place / "model", place / "pairs", place / "half", place / "halfway", together.cut()
        )
    launch(place)
    return place


def classified(place: Path) -> Path:
    """The tiny data set, whose queries are of four classes."""
    path = build_tiny_beir(place / "beir") / "queries.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    write_jsonl(path, [{**row, "topic": i // 2 % 4} for i, row in enumerate(rows)])
    source = {"kind": "beir", "path": place / "beir", "class_field": "topic"}
    (place / "out").mkdir()
    (place / "work").mkdir()
    Data.model_validate({"source": source}).run({}, place / "out", Context(place / "work", place / "embeddings"))
    return place / "out"


def launch(place: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    there = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    workers = []
    for rank in range(2):
        with (place / f"{rank}.log").open("w") as log:
            command = [sys.executable, "-m", "tests.training.together", str(place)]
            about = os.environ | there | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            workers.append(subprocess.Popen(command, cwd=ROOT, env=about, stdout=log, stderr=log))
    try:
        codes = [worker.wait(timeout=240) for worker in workers]
    except subprocess.TimeoutExpired:
        codes = []
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    if codes != [0, 0]:
        pytest.fail("two processes did not come to an end\n" + "\n".join(p.read_text() for p in place.glob("?.log")))


def history(out: Path, name: str) -> list[float]:
    return [entry[name] for entry in read_stats(out)["history"]]


def assert_same_weights(found: Path, expected: Path) -> None:
    """But for the keys' biases: attention does not depend on them, so they learn from rounding alone."""
    both = (load_file(path / "model.safetensors") for path in (found, expected))
    kept = [{name: weight for name, weight in some.items() if not name.endswith("key.bias")} for some in both]
    torch.testing.assert_close(*kept, rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def alone(folder):
    """Every loss, by one process."""
    return run(together.every(), folder / "model", folder / "pairs", folder / "alone", guide=folder / "guide")


def test_two_processes_train_as_one_by_every_loss(folder, alone):
    found = folder / "process 0" / "every" / "out"
    assert history(found, "source") == history(alone, "source")
    assert history(found, "learning_rate") == history(alone, "learning_rate")
    names = [list(together.LOSSES)[number] for number in history(found, "source")]
    assert set(names) == set(together.LOSSES)
    for name in ("loss", "grad_norm"):
        pairs = zip(names, history(found, name), history(alone, name), strict=True)
        wrong = [pair for pair in pairs if pair[1] != pytest.approx(pair[2], rel=1e-3, abs=1e-6)]
        assert not wrong, name
    assert_same_weights(found, alone)


@pytest.fixture(scope="module")
def whole(folder):
    """What is interrupted elsewhere, by one process at once."""
    return run(together.INTERRUPTED, folder / "model", folder / "pairs", folder / "whole")


def test_what_one_process_began_two_go_on_with_and_the_other_way_round(folder, whole):
    resumed = run_again(folder, "cut")
    for out in (folder / "process 0" / "gone on" / "out", resumed):
        assert history(out, "step") == list(range(1, 10))
        assert history(out, "loss") == pytest.approx(history(whole, "loss"), rel=1e-4)
        assert_same_weights(out, whole)


@pytest.mark.parametrize("name", ["sharded", "sharded again"])
def test_shards_of_weights_come_to_the_same_also_where_they_are_gone_on_with(name, folder, whole):
    out = folder / "process 0" / name / "out"
    assert history(out, "loss") == pytest.approx(history(whole, "loss"), rel=1e-4)
    assert history(out, "grad_norm") == pytest.approx(history(whole, "grad_norm"), rel=1e-3)
    assert_same_weights(out, whole)


def test_shards_round_as_one_process_does(folder):
    """bf16 is of matrix products, whether weights are in shards or not."""
    stage = together.HALF.model_copy(update={"sharding": "none"})
    alone = run(stage, folder / "model", folder / "pairs", folder / "half alone")
    out = folder / "process 0" / "half" / "out"
    assert history(out, "loss") == pytest.approx(history(alone, "loss"), rel=2.5e-3)
    assert history(out, "grad_norm") == pytest.approx(history(alone, "grad_norm"), rel=1e-2)


def test_weights_of_a_peers_loss_learn_from_all_processes(folder):
    first, second = (torch.load(folder / f"process {rank}" / "heads", weights_only=True) for rank in range(2))
    assert first
    assert all(grad.abs().sum() > 0 for grad in first.values())
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_a_checkpoint_in_shards_is_told_from_others(folder):
    place = folder / "no shards"
    with pytest.raises(StageError, match=r"checkpoint-6 is in shards; go on with the same field sharding, or delete"):
        together.together(together.INTERRUPTED, folder / "model", folder / "pairs", place, folder / "shards")


def test_what_does_not_go_with_shards():
    with pytest.raises(ValidationError, match="sharding and lora do not go together"):
        Train(model="model", pairs="pairs", sharding="full", lora={"rank": 2})
    with pytest.raises(ValidationError, match="sharding and optimizer adafactor do not go together"):
        Train(model="model", pairs="pairs", sharding="full", optimizer={"kind": "adafactor"})


def run_again(folder: Path, name: str) -> Path:
    place = folder / "again"
    together.together(together.INTERRUPTED, folder / "model", folder / "pairs", place, folder / name)
    return place / "out"


def test_only_the_first_process_writes(folder):
    assert (folder / "process 0" / "every" / "out" / "model.safetensors").exists()
    assert (folder / "process 1" / "every" / "out").is_dir()
    assert not list((folder / "process 1").glob("*/out/*"))
    assert {path.name for path in (folder / "cut" / "checkpoints" / "checkpoint-6").glob("rng_state*")} == {
        "rng_state_0.pth",
        "rng_state_1.pth",
    }


def test_a_training_that_was_over_ends_in_two_processes_too(folder):
    first, again = (folder / "process 0" / name / "out" for name in ("clustered", "over"))
    assert len(read_stats(first)["batches"]["clusters"]) > 1
    assert digests(again) == digests(first)


def test_the_plain_trainer_takes_as_many_steps_at_the_same_rates(folder):
    found = folder / "process 0" / "plain" / "out"
    expected = run(together.PLAIN, folder / "model", folder / "pairs", folder / "plain")
    assert history(found, "learning_rate") == history(expected, "learning_rate")
    assert read_stats(found)["counts"] == read_stats(expected)["counts"]
    assert history(found, "loss") != history(expected, "loss")  # a process's negatives are its own


def test_more_processes_than_a_batch_has_rows(folder, monkeypatch):
    monkeypatch.setattr("embedkit.training.collator.world_size", lambda: 8)
    with pytest.raises(DataError, match="batch: its 7 queries cannot be divided among 8 processes"):
        run(together.INTERRUPTED, folder / "model", folder / "pairs", folder / "many")


def test_batches_of_the_plain_trainer_must_be_equal(folder, monkeypatch):
    monkeypatch.setattr("embedkit.training.plain.world_size", lambda: 3)
    with pytest.raises(DataError, match="batch_size is 8, which 3 processes cannot divide"):
        run(together.PLAIN, folder / "model", folder / "pairs", folder / "uneven")


def test_two_processes_score_as_one(folder):
    found = folder / "process 0" / "evaluated" / "out"
    expected = run(
        together.EVALUATED, folder / "model", folder / "pairs", folder / "scored alone", data=folder / "data" / "out"
    )
    told, alone = read_stats(found)["evaluation"], read_stats(expected)["evaluation"]
    assert [score["step"] for score in told["scores"]] == [0, 3, 6, 9]
    assert [score["value"] for score in told["scores"]] == pytest.approx(
        [score["value"] for score in alone["scores"]], abs=1e-3
    )
    assert told["kept"] == alone["kept"]
    assert history(found, "loss") == pytest.approx(history(expected, "loss"), rel=1e-3)
