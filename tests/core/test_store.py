import json
import os
import subprocess
import sys
import textwrap
import threading

import pytest

from embedkit.core.errors import ArtifactError
from embedkit.core.store import MANIFEST, Store, digests, write_atomically

ABOUT = {"kind": "k", "type": "t", "spec": {}, "inputs": {}}


def write(text):
    def make(draft, work):
        (draft / "sub").mkdir()
        (draft / "sub" / "file.txt").write_text(text)
        return {"seconds": 1}

    return make


def test_an_artifact_is_made_once(tmp_path):
    store, calls = Store(tmp_path), []

    def make(draft, work):
        calls.append(1)
        return write("hello")(draft, work)

    first = store.get_or_make("key", make, about=ABOUT)
    second = store.get_or_make("key", make, about=ABOUT)
    assert first == second
    assert len(calls) == 1
    assert (first.path / "sub" / "file.txt").read_text() == "hello"
    assert store.manifest("key").files.keys() == {"sub/file.txt"}
    assert not (tmp_path / "work" / "key").exists()


def test_a_failure_leaves_no_artifact_but_keeps_the_work(tmp_path):
    store = Store(tmp_path)

    def fail(draft, work):
        (draft / "half").write_text("half")
        (work / "checkpoint").write_text("kept")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.get_or_make("key", fail, about=ABOUT)
    assert store.find("key") is None

    def again(draft, work):
        assert list(draft.iterdir()) == []
        assert (work / "checkpoint").read_text() == "kept"
        return write("whole")(draft, work)

    assert store.get_or_make("key", again, about=ABOUT).path.is_dir()


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "add"])
def test_verify_finds_damage(tmp_path, damage):
    store = Store(tmp_path)
    file = store.get_or_make("key", write("hello"), about=ABOUT).path / "sub" / "file.txt"
    store.verify("key")
    if damage == "flip":
        file.write_text("hellp")
    elif damage == "truncate":
        file.write_text("hel")
    elif damage == "remove":
        file.unlink()
    else:
        (file.parent / "new").write_text("x")
    with pytest.raises(ArtifactError, match="changed since it was made: sub/"):
        store.verify("key")


def test_an_unknown_format_says_so(tmp_path):
    store = Store(tmp_path)
    manifest = store.get_or_make("key", write("x"), about=ABOUT).path / MANIFEST
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 99}))
    with pytest.raises(ArtifactError, match="store format 99; this embedkit reads format 1"):
        store.manifest("key")


def test_a_missing_artifact_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="no such artifact"):
        Store(tmp_path).get("nope")


def test_two_makers_of_one_key_give_one_artifact(tmp_path):
    store, calls, start = Store(tmp_path), [], threading.Barrier(4)

    def make(draft, work):
        calls.append(1)
        return write("x")(draft, work)

    def maker():
        start.wait()
        store.get_or_make("key", make, about=ABOUT)

    threads = [threading.Thread(target=maker) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


KILLED = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    from embedkit.core.store import Store

    def make(draft, work):
        (draft / "file.txt").write_text("hello")
        if sys.argv[2] == "in_make":
            os.kill(os.getpid(), signal.SIGKILL)
        return {}

    def emit(event, facts):
        if event == sys.argv[2]:
            os.kill(os.getpid(), signal.SIGKILL)

    Store(Path(sys.argv[1])).get_or_make("key", make, about=dict(kind="k", type="t", spec={}, inputs={}), emit=emit)
    """
)


@pytest.mark.parametrize("point", ["in_make", "draft_written", "manifest_written", "published"])
def test_killed_at_any_point_the_artifact_is_whole_or_absent(tmp_path, point):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a"), point], check=False)
    assert killed.returncode == -9
    store = Store(tmp_path / "a")
    assert (store.find("key") is not None) is (point == "published")
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a"), "never"], check=True)
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "b"), "never"], check=True)
    store.verify("key")
    assert digests(store.get("key").path) == digests(Store(tmp_path / "b").get("key").path)


def test_files_of_processes_with_one_number_do_not_meet(tmp_path, monkeypatch):
    def other_first(number):  # what a process of another machine does meanwhile
        monkeypatch.setattr(os, "fsync", fsync)
        write_atomically(tmp_path / "file", "theirs")

    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", other_first)
    write_atomically(tmp_path / "file", "ours")
    assert (tmp_path / "file").read_text() == "ours"
