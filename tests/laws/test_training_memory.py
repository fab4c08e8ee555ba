"""What training holds of a row is numbers: its texts stay in files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from eval.speed.sampling import place

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def memory(rows: int, folder: Path) -> int:
    """Bytes at the peak of reading so many rows and drawing five passes of batches, in a process of its own."""
    folder.mkdir()
    place(folder, rows, rows)
    own = ["--inside", str(folder), "--way", "embedkit", "--batch-sizes", "64"]
    command = [sys.executable, "-m", "eval.speed.sampling", *own]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])["rss_anon"]


@pytest.mark.timeout(300)
def test_memory_hardly_grows_with_the_rows(tmp_path):
    """100,000 rows more, whose texts are 36 MB and which took more than 100 MB as Python objects."""
    few, many = (memory(rows, tmp_path / str(rows)) for rows in (50_000, 150_000))
    assert many - few < 60e6, (few, many)
