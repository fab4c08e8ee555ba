"""Mining holds a little of every document, and never its text or vector."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from eval.speed.growth import environment
from eval.speed.synthetic import Synthetic

ROOT = Path(__file__).parents[2]
QUERIES, DIMS = 2000, 384
STAGE = json.dumps({"memory": "100MB"})

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def mined(documents: int, model: Path, folder: Path, *options: str) -> subprocess.CompletedProcess:
    """Mine in a process of its own."""
    Synthetic(documents, QUERIES, DIMS).place(folder, model)
    command = [sys.executable, "-m", "eval.speed.growth", "--inside", str(folder), "--model", str(model)]
    command += ["--stage", STAGE, *options]
    return subprocess.run(command, cwd=ROOT, env=environment(1), capture_output=True, text=True, check=False)


def memory(done: subprocess.CompletedProcess) -> int:
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])["rss_anon"]


@pytest.mark.timeout(600)
def test_memory_hardly_grows_with_the_corpus(tiny_model, tmp_path):
    """80,000 documents more, whose vectors are 123 MB and texts 23 MB, take less than half of that."""
    few, many = (memory(mined(n, tiny_model, tmp_path / str(n))) for n in (80_000, 160_000))
    assert many - few < 70e6, (few, many)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_system_grants_no_more(tiny_model, tmp_path):
    """The limit binds: what ends within one does not begin within another."""
    memory(mined(20_000, tiny_model, tmp_path / "enough", "--limit", "600MB"))
    assert mined(20_000, tiny_model, tmp_path / "little", "--limit", "20MB").returncode != 0
