"""What is freed goes back to the system."""

import subprocess
import sys

import pytest

CODE = """
from pathlib import Path
import pyarrow as pa
from embedkit.core.memory import release

def held():
    line = next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("RssAnon"))
    return int(line.split()[1]) * 1024

release()
before = held()
kept = []
small = [bytes(100_000) for _ in range(2000)]
kept.append(bytes(100_000))  # the heap's top, which keeps what is below it
tables = [pa.array(range(i, i + 20_000)) for i in range(500)]
del small, tables
freed = held()
release()
print(freed - before, held() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_is_freed_is_given_back():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    kept, left = map(int, done.stdout.split())
    assert 4 * left < kept


def test_it_runs_where_the_c_library_cannot_trim(monkeypatch):
    import ctypes

    from embedkit.core import memory

    memory._trim.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    memory.release()
    memory._trim.cache_clear()
