"""`kill -9` at named points and at random times: the same command finishes, repeats no finished stage, same results."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from embedkit.core.store import Store
from tests.pipeline.tiny_recipe import write_tiny_recipe

KILLS = 50
SOME = ["step:3", "checkpoint_saved:5", "block_mined", "manifest_written:7"]
POINTS = [
    "stage_started:3",
    "shard_written:2",
    "step:3",
    "checkpoint_saved:2",
    "checkpoint_saved:5",
    "block_mined",
    "soup_scored:2",
    "draft_written:5",
    "manifest_written:7",
    "published:4",
    "published:15",
]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, tiny_model, tiny_beir):
    folder = tmp_path_factory.mktemp("kill")
    return write_tiny_recipe(folder / "tiny.yaml", model=tiny_model, data=tiny_beir)


def drive(recipe: Path, folder: Path, *how: str) -> str:
    command = [sys.executable, "-m", "tests.faults.driver", str(recipe), str(folder), *how]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def undisturbed(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    drive(recipe, folder, "once")
    return folder


def same(folder: Path, undisturbed: Path) -> None:
    """Scores, pairs and weights as without interruption; nothing damaged; no finished stage started again."""
    for file in ("scores.json", "mined/pairs.parquet", "taught/pairs.parquet", "model/model.safetensors"):
        assert (folder / "out" / file).read_bytes() == (undisturbed / "out" / file).read_bytes(), file
    store = Store(folder / "store")
    assert list((folder / "store" / "work").glob("*/draft")) == []
    for key in store.finished():
        store.verify(key)
    published, started = set(), []
    for line in (folder / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "stage_started":
            assert event["key"] not in published, f"{event['stage']} was made twice"
            started.append(event["key"])
        if event["event"] == "published":
            published.add(event["key"])
    assert len(set(started)) == len(list(store.finished())) > 14


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "points", [SOME, pytest.param(sorted({*POINTS} - {*SOME}), marks=pytest.mark.slow)], ids=["some", "others"]
)
def test_killed_at_named_points(points, recipe, undisturbed, tmp_path):
    drive(recipe, tmp_path, "at", *points)
    for point in points:
        same(tmp_path / point, undisturbed)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kills", [10, pytest.param(KILLS, marks=pytest.mark.slow)])
def test_killed_at_random_times(kills, recipe, undisturbed, tmp_path):
    told = json.loads(drive(recipe, tmp_path, "times", str(kills), "0").splitlines()[-1])
    assert told["kills"] == kills
    for number in range(told["rounds"]):
        same(tmp_path / str(number), undisturbed)
