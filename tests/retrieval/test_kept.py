import errno
import os
import subprocess
import sys

import numpy as np
import pytest

from embedkit.core.errors import EmbedkitError
from embedkit.retrieval import arrays, kept
from embedkit.retrieval.arrays import mapped_array, save_array
from embedkit.retrieval.index import HNSW, IVF
from embedkit.retrieval.kept import get_or_build

ABOUT = {"index": "some"}


def draft_of(work, process: int, host: str = kept._HERE):
    folder, _ = get_or_build(work, ABOUT, lambda draft: (draft / "file").write_text("x"))
    left = work / f".{folder.name}.{host}.{process}.tmp"
    left.mkdir()
    (left / "half").write_text("y")
    (folder / "file").unlink()  # so that it is built again
    return left


def test_what_a_killed_process_left_goes_with_the_next_one(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    left = draft_of(tmp_path, ended.pid)
    assert get_or_build(tmp_path, ABOUT, lambda draft: (draft / "file").write_text("x"))[1] is False
    assert not left.exists()


@pytest.mark.parametrize(("process", "host"), [(os.getppid(), kept._HERE), (2**22 + 1, "another-machine")])
def test_what_another_process_is_making_stays(process, host, tmp_path):
    left = draft_of(tmp_path, process, host)
    get_or_build(tmp_path, ABOUT, lambda draft: (draft / "file").write_text("x"))
    assert (left / "half").read_text() == "y"


def test_arrays_are_what_numpy_reads(tmp_path):
    for array in (np.arange(7, dtype=np.uint64), np.empty(0, dtype=np.int64)):
        save_array(tmp_path / "a.npy", array)
        np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)
    made = mapped_array(tmp_path / "m.npy", np.float32, 5)
    made[3] = 2.0
    made.flush()
    np.testing.assert_array_equal(np.load(tmp_path / "m.npy"), np.array([0, 0, 0, 2, 0], dtype=np.float32))


def test_a_disk_without_room_is_told_before_anything_is_written_into_the_map(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(arrays.os, "posix_fallocate", full)
    with pytest.raises(EmbedkitError, match=r"the index cannot be kept there \(.*No space left on device\); make room"):
        get_or_build(tmp_path, ABOUT, lambda draft: mapped_array(draft / "m.npy", np.float32, 5))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("index", [HNSW(), IVF(probes=1)], ids=lambda index: index.kind)
def test_what_faiss_cannot_write_is_one_line(index, tmp_path, monkeypatch):
    faiss = pytest.importorskip("faiss")

    def full(*_):
        raise RuntimeError("Error in virtual size_t faiss::FileIOWriter\nwrite error: No space left on device")

    monkeypatch.setattr(faiss, "write_index", full)
    vectors = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    with pytest.raises(EmbedkitError, match=r"the index cannot be kept there \(write error: No space left") as error:
        index.open(vectors, tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [HNSW, IVF])
def test_a_seed_is_no_negative_number(kind):
    with pytest.raises(ValueError, match="seed"):
        kind(seed=-1)
