import dataclasses
import hashlib
import json
import resource
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.core.errors import ArtifactError
from embedkit.core.store import digests
from embedkit.retrieval.identity import VectorIdentity
from embedkit.retrieval.shards import EmbeddingStore, usage, verify

IDENTITY = VectorIdentity("m" * 64, "document", "", None, "float32", "torch", None, True)
TEXTS = [f"text {i}" for i in range(10)]


def vectors_of(texts):
    rows = [np.frombuffer(hashlib.sha256(text.encode()).digest()[:12], dtype=np.uint8) for text in texts]
    return np.stack(rows).astype(np.float32)


class Encoder:
    """Vectors made of the texts' hashes; remembers what it was asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, shards):
        for texts in shards:
            self.asked.append(list(texts))
            yield vectors_of(texts)


def stored(root, texts=TEXTS, encoder=None, rows=4, **kwargs):
    return EmbeddingStore(root, shard_rows=rows).get_or_make(IDENTITY, texts, encoder or Encoder(), **kwargs)


@given(
    st.lists(st.sampled_from([*TEXTS, "", "ü\ud800"]), min_size=1, max_size=30),
    st.integers(1, 12),
)
@settings(max_examples=25, deadline=None)
def test_shards_together_are_the_array(tmp_path_factory, texts, rows):
    texts = [text for text in texts if text.isprintable()]
    if not texts:
        return
    vectors = stored(tmp_path_factory.mktemp("store"), texts, rows=rows)
    expected = vectors_of(texts)
    assert vectors.shape == expected.shape
    assert (vectors.array() == expected).all()
    assert (vectors[2:5] == expected[2:5]).all()
    order = np.arange(len(texts))[::-1]
    assert (vectors[order] == expected[order]).all()


def test_each_text_is_encoded_once(tmp_path):
    encoder, events, seen = Encoder(), [], []
    vectors = stored(tmp_path, ["a", "b", "a", "c", "b"], encoder, rows=2, emit=lambda *event: events.append(event))
    assert encoder.asked == [["a", "b"], ["c"]]
    assert (vectors.array() == vectors_of(["a", "b", "a", "c", "b"])).all()
    assert [facts["rows"] for name, facts in events if name == "shard_written"] == [2, 1]
    again = stored(tmp_path, ["a", "b", "c"], Encoder(), rows=2, emit=lambda *event: seen.append(event))
    assert again.shape == (3, 12)
    assert not seen


def test_another_identity_shares_nothing(tmp_path):
    encoder = Encoder()
    stored(tmp_path)
    other = VectorIdentity("m" * 64, "document", "p: ", None, "float32", "torch", None, True)
    EmbeddingStore(tmp_path, shard_rows=4).get_or_make(other, TEXTS, encoder)
    assert sum(map(len, encoder.asked)) == len(TEXTS)


def test_later_texts_change_no_bytes_and_keep_full_shards(tmp_path):
    stored(tmp_path)
    before, encoder = digests(tmp_path), Encoder()
    stored(tmp_path, [*TEXTS, "new"], encoder)
    assert encoder.asked == [["text 8", "text 9", "new"]]
    after = digests(tmp_path)
    assert before.items() <= after.items()
    assert len(after) == len(before) + 2


def test_what_was_stored_before_changes_nothing(tmp_path):
    stored(tmp_path / "a", TEXTS)
    stored(tmp_path / "b", TEXTS[5:])
    stored(tmp_path / "b", TEXTS)
    a, b = digests(tmp_path / "a"), digests(tmp_path / "b")
    assert a.items() <= b.items()


@pytest.mark.parametrize(
    "damage",
    [
        lambda npy, _: npy.write_bytes(npy.read_bytes()[:-1]),
        lambda npy, _: npy.write_bytes(b""),
        lambda npy, _: npy.write_bytes(b"\x00" * npy.stat().st_size),
        lambda npy, _: npy.write_bytes(npy.read_bytes()[:-1] + b"\x01"),
        lambda npy, _: npy.unlink(),
        lambda _, sidecar: sidecar.unlink(),
        lambda _, sidecar: sidecar.write_text(""),
        lambda _, sidecar: sidecar.write_text("[]"),
        lambda _, sidecar: sidecar.write_text("{}"),
        lambda _, sidecar: sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), "rows": 3})),
        lambda _, sidecar: sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), "dim": 3})),
    ],
)
def test_a_damaged_shard_is_encoded_again_never_read(tmp_path, damage):
    stored(tmp_path)
    before = digests(tmp_path)
    npy = sorted(tmp_path.rglob("*.npy"))[0]
    damage(npy, npy.with_suffix(".json"))
    encoder = Encoder()
    assert (stored(tmp_path, encoder=encoder).array() == vectors_of(TEXTS)).all()
    assert len(encoder.asked) == 1
    assert digests(tmp_path) == before


def test_verify_finds_a_flipped_bit_and_a_missing_shard(tmp_path):
    stored(tmp_path)
    assert list(verify(tmp_path)) == []
    first, second, _ = sorted(tmp_path.rglob("*.npy"))
    data = bytearray(first.read_bytes())
    data[-1] ^= 1
    first.write_bytes(data)
    second.unlink()
    problems = list(verify(tmp_path))
    assert [str(path) in problem for path, problem in zip((first, second), problems, strict=True)] == [True, True]
    assert list(verify(tmp_path / "nothing")) == []


@pytest.mark.parametrize(("storage", "tolerance"), [("float32", 0), ("float16", 0.07)])
def test_what_is_read_is_float32_whatever_lies_on_disk(tmp_path, storage, tolerance):
    identity = dataclasses.replace(IDENTITY, storage=storage)
    vectors = EmbeddingStore(tmp_path, shard_rows=4).get_or_make(identity, TEXTS, Encoder())
    assert vectors.array().dtype == vectors[2:3].dtype == np.float32
    assert np.abs(vectors.array() - vectors_of(TEXTS)).max() <= tolerance
    assert {np.load(path).dtype for path in tmp_path.rglob("*.npy")} == {np.dtype(storage)}
    assert list(verify(tmp_path)) == []
    encoder = Encoder()
    EmbeddingStore(tmp_path, shard_rows=4).get_or_make(identity, TEXTS, encoder)
    assert not encoder.asked


class Lazy(Sequence):
    """Texts made when asked for; how many are held at a time, and how often each was asked for."""

    def __init__(self, texts):
        self._texts, self.asked = texts, Counter()

    def __len__(self):
        return len(self._texts)

    def __getitem__(self, row):
        assert isinstance(row, int), "asked for many at a time"
        self.asked[row] += 1
        return self._texts[row]

    def __iter__(self):
        for row in range(len(self)):
            yield self[row]
            if row > 4:
                assert sys._getframe(1).f_code.co_name != "<listcomp>"


def test_texts_are_streamed_once_and_read_again_only_to_be_encoded(tmp_path):
    texts = Lazy(["a", "b", "a", "c", "b", "d", "e"])
    stored(tmp_path, texts, rows=2)
    assert texts.asked == {0: 2, 1: 2, 2: 1, 3: 2, 4: 1, 5: 2, 6: 2}
    next(tmp_path.rglob("*.npy")).unlink()
    texts.asked.clear()
    stored(tmp_path, texts, rows=2)
    assert sum(texts.asked.values()) - len(texts) in (1, 2)


def test_neither_texts_nor_vectors_are_held(tmp_path):
    """200,000 texts of 240 characters and their vectors are 350 MB; anonymous memory may grow by 40."""
    program = """
import re, sys
from collections.abc import Sequence
from pathlib import Path
import numpy as np
from embedkit.retrieval.shards import EmbeddingStore
from tests.retrieval.test_shards import IDENTITY

class Texts(Sequence):
    def __len__(self):
        return ROWS
    def __getitem__(self, row):
        if row >= ROWS:
            raise IndexError
        return f"text {row} " * 20

def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

def encode(shards):
    for texts in shards:
        yield np.ones((len(texts), 384), dtype=np.float32)
        most.append(anonymous())

ROWS, most, before = int(sys.argv[2]), [], anonymous()
vectors = EmbeddingStore(Path(sys.argv[1])).get_or_make(IDENTITY, Texts(), encode)
for start in range(0, ROWS, 8192):
    vectors[start : start + 8192]
    most.append(anonymous())
print(max(most) - before)
"""
    command = [sys.executable, "-c", program, str(tmp_path), "200000"]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert grown < 40


def test_usage_counts_finished_shards(tmp_path):
    stored(tmp_path)
    (use,) = usage(tmp_path)
    assert (use.identity, use.model, use.shards) == (IDENTITY.key, "m" * 64, 3)
    assert use.bytes == sum(path.stat().st_size for path in use.path.iterdir())
    next(iter(sorted(use.path.glob("*.npy")))).with_suffix(".json").unlink()
    assert usage(tmp_path)[0].shards == 2
    assert usage(tmp_path / "nothing") == []
    (use.path / "identity.json").write_text("{")
    with pytest.raises(ArtifactError, match="cannot be read"):
        usage(tmp_path)


def test_a_failing_encoder_leaves_what_was_finished(tmp_path):
    def fail(shards):
        for texts in shards:
            if "text 4" in texts:
                raise OSError("of its own")
            yield vectors_of(texts)

    with pytest.raises(OSError, match="of its own"):
        stored(tmp_path, encoder=fail)
    encoder = Encoder()
    stored(tmp_path, encoder=encoder)
    assert encoder.asked == [TEXTS[4:8], TEXTS[8:]]


def test_a_full_disk_is_one_line_and_nothing_half_written_is_read(tmp_path):
    stored(tmp_path, TEXTS[:4])
    encoder, before = Encoder(), digests(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))  # files may grow to 200 bytes, vectors want more
    try:
        with pytest.raises(ArtifactError, match=r"vectors cannot be written \(.*What was finished stays") as error:
            stored(tmp_path, encoder=encoder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(error.value)
    assert {name: sha for name, sha in digests(tmp_path).items() if not name.endswith(".lock")} == before
    assert (stored(tmp_path, encoder=encoder).array() == vectors_of(TEXTS)).all()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "embeddings").write_text("a file where a folder should be")
    with pytest.raises(ArtifactError, match=r"vectors cannot be written \(Not a directory") as error:
        stored(tmp_path / "embeddings")
    assert "\n" not in str(error.value)


WRITER = """
import sys, time
from pathlib import Path
from tests.retrieval.test_shards import TEXTS, Encoder, stored, vectors_of

def slow(shards):
    for texts in encoder(shards):
        time.sleep(0.05)
        yield texts

encoder, written = Encoder(), []
vectors = stored(Path(sys.argv[1]), TEXTS * 4, slow, rows=1, emit=lambda event, facts: written.append(event))
assert (vectors.array() == vectors_of(TEXTS * 4)).all()
print(written.count("shard_written"))
"""


def test_processes_share_the_work_and_end_with_one_good_store(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path)]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    counts = [int(writer.communicate(timeout=200)[0]) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert sum(counts) == len(TEXTS)  # none was made twice
    assert list(verify(tmp_path)) == []
    assert not list(tmp_path.rglob("*.lock"))


def test_what_a_process_left_that_died_is_made(tmp_path):
    holder = """
import sys, time
from pathlib import Path
from tests.retrieval.test_shards import TEXTS, stored

def encode(shards):
    for texts in shards:
        print("taken", flush=True)
        time.sleep(600)
        yield texts

stored(Path(sys.argv[1]), encoder=encode)
"""
    other = subprocess.Popen([sys.executable, "-c", holder, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "taken\n"
    encoder, events = Encoder(), []

    def emit(event, facts):
        events.append(event)
        if event == "waiting":
            other.kill()

    assert (stored(tmp_path, encoder=encoder, emit=emit).array() == vectors_of(TEXTS)).all()
    other.communicate()
    assert encoder.asked == [TEXTS[4:8], TEXTS[8:], TEXTS[:4]]
    assert events == ["shard_written", "shard_written", "waiting", "shard_written"]


KILLED = """
import os, signal, sys
from pathlib import Path
from embedkit.retrieval import shard_files
from tests.retrieval.test_shards import stored, vectors_of

root, point, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
calls = 0

def die(at, now):
    global calls
    calls += at == now == point
    if calls == number and at == now == point:
        os.kill(os.getpid(), signal.SIGKILL)

def encode(shards):
    for texts in shards:
        die("encode", point)
        yield vectors_of(texts)

write = shard_files.write_atomically
def sidecar(path, text):
    die("before_sidecar", point)
    write(path, text)
shard_files.write_atomically = sidecar
sync = shard_files.sync_folder
def rename(folder):
    die("after_rename", point)
    sync(folder)
shard_files.sync_folder = rename
replace = Path.replace
def before(self, target):
    if str(target).endswith(".npy"):
        die("before_rename", point)
    return replace(self, target)
Path.replace = before

stored(root, encoder=encode, emit=lambda *_: die("shard_written", point))
"""


@pytest.mark.parametrize("point", ["encode", "before_rename", "after_rename", "before_sidecar", "shard_written"])
def test_a_kill_costs_no_finished_shard_and_no_byte(tmp_path, point):
    stored(tmp_path / "undisturbed")
    for number, finished in ((1, 0), (2, 1)):
        root = tmp_path / f"killed-{number}"
        command = [sys.executable, "-c", textwrap.dedent(KILLED), str(root), point, str(number)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        encoder = Encoder()
        assert (stored(root, encoder=encoder).array() == vectors_of(TEXTS)).all()
        finished += point == "shard_written"
        assert len(encoder.asked) == 3 - finished
        left = {name: sha for name, sha in digests(root).items() if not name.endswith((".tmp", ".lock"))}
        assert left == digests(tmp_path / "undisturbed")
        assert list(verify(root)) == []
