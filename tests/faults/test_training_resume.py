"""A training that is interrupted anywhere ends with the bytes of one that was not. Dropout is on."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from embedkit.core.stats import read_stats
from embedkit.core.store import digests
from embedkit.losses import MarginMSE
from embedkit.training.averaging import Average
from embedkit.training.checkpoints import Checkpoints
from embedkit.training.early_stopping import Evaluation
from embedkit.training.lora import LoRA
from embedkit.training.peers.ranking import CachedMultipleNegativesRankingLoss
from embedkit.training.sources import Source
from tests.slow import mostly
from tests.training.members import Bar
from tests.training.runs import TRAIN, TRAIN_ST, run, scored_pairs

ROOT = Path(__file__).parents[2]
STAGES = {stage.kind: stage for stage in (TRAIN, TRAIN_ST)}
EVALUATED = {"evaluate": Evaluation(data="data", every=2, patience=3), "learning_rate": 0.03, "warmup": 0.0}
OTHERS = {
    "sources": TRAIN.model_copy(update={"sources": (Source(pairs="pairs", loss=MarginMSE(), share=0.7),)}),
    "negatives that vary": TRAIN.model_copy(update={"random_negatives": 2, "vary_negatives": True}),
    "passes in bf16": TRAIN.model_copy(update={"chunk_size": 8, "precision": "bf16"}),
    "lora, not merged": TRAIN.model_copy(update={"lora": LoRA(rank=4, merge=False)}),
    "cached peer": TRAIN_ST.model_copy(update={"loss": CachedMultipleNegativesRankingLoss(mini_batch_size=8)}),
    "evaluated": TRAIN.model_copy(update=EVALUATED),
    "evaluated peer": TRAIN_ST.model_copy(update=EVALUATED),
    "evaluated average": TRAIN.model_copy(update={**EVALUATED, "average": Average(decay=0.8)}),
}


class PowerCut(BaseException):
    """Ends a run at once, whatever it was doing."""


@pytest.fixture(scope="module")
def pairs(tiny_dataset, tmp_path_factory):
    return scored_pairs(tiny_dataset.path, tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def undisturbed(tiny_model, pairs, tmp_path_factory):
    return {
        kind: digests(run(stage, tiny_model, pairs, tmp_path_factory.mktemp(kind))) for kind, stage in STAGES.items()
    }


def cut_at(event, number):
    """An `emit` that ends the run at the event of that name and number."""
    seen = 0

    def emit(name, facts):
        nonlocal seen
        seen += name == event
        if seen == number:
            raise PowerCut

    return emit


def resume(stage, model, pairs, folder, **others):
    """Run again; the digests of the artifact, and the steps that were trained."""
    steps = []
    (folder / "out").rmdir()

    def emit(name, facts):
        if name == "step":
            steps.append(facts["step"])

    out = run(stage, model, pairs, folder, emit, **others)
    return digests(out), steps


@pytest.mark.parametrize("kind", STAGES)
@pytest.mark.parametrize(("event", "number", "first"), [("step", 8, 7), ("checkpoint_saved", 2, 7), ("step", 1, 1)])
def test_killed_and_run_again(kind, event, number, first, tiny_model, pairs, undisturbed, tmp_path):
    if (event, number) == ("step", 8):
        program = [sys.executable, "-m", "tests.training.runs", STAGES[kind].model_dump_json()]
        arguments = [tiny_model, pairs, tmp_path, event, number]
        killed = subprocess.run([*program, *map(str, arguments)], cwd=ROOT, check=False)
        assert killed.returncode == -signal.SIGKILL
    else:
        with pytest.raises(PowerCut):
            run(STAGES[kind], tiny_model, pairs, tmp_path, cut_at(event, number))
    assert resume(STAGES[kind], tiny_model, pairs, tmp_path) == (undisturbed[kind], [*range(first, 15)])


@pytest.mark.parametrize("kind", STAGES)
def test_killed_after_the_last_step(kind, tiny_model, pairs, undisturbed, tmp_path):
    with pytest.raises(PowerCut):
        run(STAGES[kind], tiny_model, pairs, tmp_path, cut_at("checkpoint_saved", 5))
    assert resume(STAGES[kind], tiny_model, pairs, tmp_path) == (undisturbed[kind], [])


@pytest.mark.parametrize("damage", ["unsealed", "truncated weights", "damaged optimizer state", "all gone"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(damage, tiny_model, pairs, undisturbed, tmp_path):
    with pytest.raises(PowerCut):
        run(TRAIN, tiny_model, pairs, tmp_path, cut_at("step", 11))
    last = tmp_path / "work" / "checkpoints" / "checkpoint-9"
    first = 7
    if damage == "unsealed":
        (last / "complete.json").unlink()
    elif damage == "truncated weights":
        weights = last / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "damaged optimizer state":
        state = bytearray((last / "optimizer.pt").read_bytes())
        state[len(state) // 2] ^= 1
        (last / "optimizer.pt").write_bytes(state)
    else:
        for seal in last.parent.glob("*/complete.json"):
            seal.unlink()
        first = 1
    assert resume(TRAIN, tiny_model, pairs, tmp_path) == (undisturbed["train"], [*range(first, 15)])


def test_what_a_loss_remembers_is_remembered(tiny_model, pairs, tmp_path, monkeypatch):
    stage = TRAIN.model_copy(update={"loss": Bar()})
    undisturbed = digests(run(stage, tiny_model, pairs, tmp_path / "undisturbed"))
    for folder in (tmp_path / "resumed", tmp_path / "forgetful"):
        with pytest.raises(PowerCut):
            run(stage, tiny_model, pairs, folder, cut_at("step", 8))
    assert resume(stage, tiny_model, pairs, tmp_path / "resumed") == (undisturbed, [*range(7, 15)])
    monkeypatch.setattr(Checkpoints, "remembered", lambda checkpoints, step: {})
    assert resume(stage, tiny_model, pairs, tmp_path / "forgetful")[0] != undisturbed


def test_interrupted_again_and_again(tiny_model, pairs, undisturbed, tmp_path):
    for _ in range(3):
        with pytest.raises(PowerCut):
            run(TRAIN, tiny_model, pairs, tmp_path, cut_at("step", 4))
        (tmp_path / "out").rmdir()
    out = run(TRAIN, tiny_model, pairs, tmp_path)
    assert digests(out) == undisturbed["train"]
    assert [entry["step"] for entry in read_stats(out)["history"]] == [*range(1, 15)]


@pytest.mark.parametrize("kind", mostly(OTHERS, slow={"passes in bf16", "cached peer", "evaluated peer"}))
def test_every_kind_of_training_is_resumed_exactly(kind, tiny_model, tiny_dataset, pairs, tmp_path):
    arguments = OTHERS[kind], tiny_model, pairs
    data = {"data": tiny_dataset.path}
    undisturbed = run(*arguments, tmp_path / "undisturbed", **data)
    history = read_stats(undisturbed)["history"]
    assert len({entry["loss"] for entry in history}) == len(history)
    with pytest.raises(PowerCut):
        run(*arguments, tmp_path / "cut", cut_at("step", 8), **data)
    found, steps = resume(*arguments, tmp_path / "cut", **data)
    assert found == digests(undisturbed)  # stats.json has the history
    assert steps == [*range(7, len(history) + 1)]


def test_a_training_that_is_cut_while_it_is_evaluated(tiny_model, tiny_dataset, pairs, tmp_path):
    """Best weights, patience and the early end are as they would have been, wherever it is cut."""
    stage = OTHERS["evaluated"].model_copy(update={"checkpoint_every": 4})
    data = {"data": tiny_dataset.path}
    undisturbed = run(stage, tiny_model, pairs, tmp_path / "undisturbed", **data)
    told = read_stats(undisturbed)["evaluation"]
    last = told["scores"][-1]["step"]
    assert told["best"]["step"] < last < 14  # it stops early, and not at its best
    for number in range(1, len(told["scores"]) + 1):
        folder = tmp_path / str(number)
        with pytest.raises(PowerCut):
            run(stage, tiny_model, pairs, folder, cut_at("evaluated", number), **data)
        assert resume(stage, tiny_model, pairs, folder, **data)[0] == digests(undisturbed)
