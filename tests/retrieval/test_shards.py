import hashlib
import json
import signal
import subprocess
import sys
import textwrap

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


class Encoder:
    """Vectors made of the texts' hashes; remembers what it was asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, texts):
        self.asked.append(list(texts))
        rows = [np.frombuffer(hashlib.sha256(text.encode()).digest()[:12], dtype=np.uint8) for text in texts]
        return np.stack(rows).astype(np.float32)


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
    expected = Encoder()(texts)
    assert vectors.shape == expected.shape
    assert (vectors.array() == expected).all()
    assert (vectors[2:5] == expected[2:5]).all()
    order = np.arange(len(texts))[::-1]
    assert (vectors[order] == expected[order]).all()


def test_each_text_is_encoded_once(tmp_path):
    encoder, events, seen = Encoder(), [], []
    vectors = stored(tmp_path, ["a", "b", "a", "c", "b"], encoder, rows=2, emit=lambda *event: events.append(event))
    assert encoder.asked == [["a", "b"], ["c"]]
    assert (vectors.array() == Encoder()(["a", "b", "a", "c", "b"])).all()
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
    assert (stored(tmp_path, encoder=encoder).array() == Encoder()(TEXTS)).all()
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
    whole = Encoder()

    def fail(texts):
        if "text 4" in texts:
            raise OSError("disk full")
        return whole(texts)

    with pytest.raises(OSError, match="disk full"):
        stored(tmp_path, encoder=fail)
    encoder = Encoder()
    stored(tmp_path, encoder=encoder)
    assert encoder.asked == [TEXTS[4:8], TEXTS[8:]]


def test_two_writers_of_a_shard_end_with_one_good_store(tmp_path):
    def encode(texts):
        stored(tmp_path)  # another process is faster and writes every shard while this one still computes the first
        return Encoder()(texts)

    assert (stored(tmp_path, encoder=encode).array() == Encoder()(TEXTS)).all()
    assert list(verify(tmp_path)) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from embedkit.retrieval import shards
from tests.retrieval.test_shards import Encoder, stored

root, point, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
calls = 0

def die(at, now):
    global calls
    calls += at == now == point
    if calls == number and at == now == point:
        os.kill(os.getpid(), signal.SIGKILL)

class Deadly(Encoder):
    def __call__(self, texts):
        die("encode", point)
        return super().__call__(texts)

write = shards.write_atomically
def sidecar(path, text):
    if path.name != "identity.json":
        die("before_sidecar", point)
    write(path, text)
shards.write_atomically = sidecar
sync = shards.sync_folder
def rename(folder):
    die("after_rename", point)
    sync(folder)
shards.sync_folder = rename
replace = Path.replace
def before(self, target):
    if str(target).endswith(".npy"):
        die("before_rename", point)
    return replace(self, target)
Path.replace = before

stored(root, encoder=Deadly(), emit=lambda *_: die("shard_written", point))
"""


@pytest.mark.parametrize("point", ["encode", "before_rename", "after_rename", "before_sidecar", "shard_written"])
def test_a_kill_costs_no_finished_shard_and_no_byte(tmp_path, point):
    stored(tmp_path / "undisturbed")
    for number, finished in ((1, 0), (2, 1)):
        root = tmp_path / f"killed-{number}"
        command = [sys.executable, "-c", textwrap.dedent(KILLED), str(root), point, str(number)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        encoder = Encoder()
        assert (stored(root, encoder=encoder).array() == Encoder()(TEXTS)).all()
        finished += point == "shard_written"
        assert len(encoder.asked) == 3 - finished
        left = {name: sha for name, sha in digests(root).items() if not name.endswith(".tmp")}
        assert left == digests(tmp_path / "undisturbed")
        assert list(verify(root)) == []
