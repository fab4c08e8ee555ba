import os
import time
from typing import ClassVar, Literal

import pytest

from embedkit import pins
from embedkit.core.spec import LocalPath
from embedkit.core.stage import Stage
from embedkit.core.store import Store


class Reads(Stage):
    kind: Literal["reads"] = "reads"
    produces: ClassVar = "dataset"
    path: LocalPath

    def run(self, inputs, out, context): ...

    def facts(self):
        return {"seen": "yes"}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "data" / "a.txt"
    path.parent.mkdir()
    path.write_text("one")
    old = time.time() - 100
    os.utime(path, (old, old))
    return path


def test_files_and_folders_are_known_by_content(tmp_path, file):
    store = Store(tmp_path / "store")
    found = pins.pin({"a": Reads(path=file), "b": Reads(path=file.parent)}, store)
    assert found.digests[file] == pins.sha256(file)
    assert found.digests[file.parent] != found.digests[file]
    assert found.facts == {"a": {"seen": "yes"}, "b": {"seen": "yes"}}
    (file.parent / "b.txt").write_text("two")
    again = pins.pin({"b": Reads(path=file.parent)}, store)
    assert again.digests[file.parent] != found.digests[file.parent]


def test_an_unchanged_file_is_not_read_again_and_a_changed_one_is(tmp_path, file, monkeypatch):
    store, reads = Store(tmp_path / "store"), []
    real = pins.sha256
    monkeypatch.setattr(pins, "sha256", lambda path: reads.append(path) or real(path))
    first = pins.pin({"a": Reads(path=file)}, store)
    assert pins.pin({"a": Reads(path=file)}, store) == first
    assert len(reads) == 1
    stat = file.stat()
    file.write_text("two")  # same size
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))
    assert pins.pin({"a": Reads(path=file)}, store) != first


def test_a_file_written_just_now_is_read_every_time(tmp_path, file, monkeypatch):
    store, reads = Store(tmp_path / "store"), []
    real = pins.sha256
    monkeypatch.setattr(pins, "sha256", lambda path: reads.append(path) or real(path))
    os.utime(file)
    pins.pin({"a": Reads(path=file)}, store)
    pins.pin({"a": Reads(path=file)}, store)
    assert len(reads) == 2


def test_linked_folders_count_and_what_runs_put_there_does_not(tmp_path, file):
    store, data = Store(tmp_path / "store"), file.parent
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "train.tsv").write_text("1")
    (data / "qrels").symlink_to(tmp_path / "real")
    (data / "qrels" / "again").symlink_to(tmp_path / "real")  # a circle
    first = pins.pin({"a": Reads(path=data)}, store)
    (data / "runs").mkdir()
    (data / "runs" / "provenance.json").write_text("{}")
    (data / ".embedkit").mkdir()
    (data / ".embedkit" / "x").write_text("x")
    assert pins.pin({"a": Reads(path=data)}, store) == first
    (tmp_path / "real" / "train.tsv").write_text("2")
    assert pins.pin({"a": Reads(path=data)}, store) != first


def test_a_damaged_memory_is_made_anew(tmp_path, file):
    store = Store(tmp_path / "store")
    store.root.mkdir()
    (store.root / "files.json").write_text("{not json")
    assert pins.pin({"a": Reads(path=file)}, store).digests[file] == pins.sha256(file)
