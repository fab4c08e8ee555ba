"""A run in several processes, one of which is killed; its errors; what it comes to."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file

import embedkit
from embedkit.core.store import Store
from tests.tiny import build_tiny_model


@pytest.fixture
def folder(tmp_path, tiny_beir) -> Path:
    """Of a recipe."""
    model = build_tiny_model(tmp_path / "tiny")
    config = json.loads((model / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (model / "config.json").write_text(json.dumps(config))
    stages = {
        "base": {"kind": "pretrained", "source": {"kind": "folder", "path": str(model)}},
        "toy": {"kind": "data", "source": {"kind": "beir", "path": str(tiny_beir)}},
        "trained": {
            "kind": "train",
            "model": "base",
            "pairs": "toy",
            "steps": 8,
            "batch_size": 7,
            "checkpoint_every": 2,
            "device": "cpu",
        },
        "mined": {"kind": "mine", "data": "toy", "model": "base", "negatives": 2, "top_k": 10},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"name": "toy", "stages": stages}, sort_keys=False))
    return tmp_path


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "embedkit", "run", "recipe.yaml", "--nproc", "2", *words]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def follower(launcher: subprocess.Popen[str]) -> psutil.Process:
    """The second process that a launcher started."""
    workers = psutil.Process(launcher.pid).children(recursive=True)
    return next(worker for worker in workers if worker.environ().get("RANK") == "1")


def events(lines: str) -> list[dict]:
    return [json.loads(line) for line in lines.splitlines()]


def test_one_is_killed_and_the_run_goes_on_to_what_one_process_makes(folder):
    first = start(folder, "--json")
    for line in first.stdout:
        if json.loads(line)["event"] == "checkpoint_saved":
            follower(first).send_signal(signal.SIGKILL)
            break
    _, said = first.communicate(timeout=120)
    assert first.returncode == 2
    assert [line for line in said.splitlines() if line.startswith("error: ")] == [
        "error: process 1 was ended by SIGKILL (the system kills processes when memory runs out), which stopped the "
        "others; the same command goes on where it was"
    ]

    again = start(folder, "--json")
    lines, said = again.communicate(timeout=120)
    assert (again.returncode, said) == (0, "")
    told = [event["event"] for event in events(lines)]
    assert (told.count("run_started"), told.count("run_finished")) == (1, 1)
    steps = [event["step"] for event in events(lines) if event["event"] == "step"]
    assert steps == list(range(steps[0], 9))
    assert steps[0] in (3, 5, 7)

    alone = embedkit.run(folder / "recipe.yaml", store=folder / "alone", out=folder / "runs" / "alone")
    together = Store(folder / ".embedkit")
    assert set(together.finished()) == {found.key for found in alone.artifacts.values()}
    assert together.manifest(alone.artifacts["trained"].key).made["processes"] == 2
    weights = [load_file(folder / "runs" / run / "trained" / "model.safetensors") for run in ("toy", "alone")]
    kept = [{name: some[name] for name in some if not name.endswith("key.bias")} for some in weights]
    torch.testing.assert_close(*kept, rtol=1e-3, atol=1e-5)  # keys' biases learn from rounding alone

    worse = start(folder, "--set", "trained.batch_size=100")
    _, said = worse.communicate(timeout=120)
    assert worse.returncode == 2
    problems = [line for line in said.splitlines() if not line.startswith("  ")]
    assert problems == [
        "toy: 4 stages, store .embedkit, 2 processes",
        "error: stages.trained: pairs: 72 distinct training queries cannot fill a batch of 100; "
        "lower batch_size or bring more pairs",
    ]
