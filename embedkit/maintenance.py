"""Looking after a store: what is in it, what nothing uses any more, what is damaged."""

import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from filelock import FileLock, Timeout

from embedkit.core.errors import ArtifactError, ModelError
from embedkit.core.store import Store, read_manifest
from embedkit.retrieval import shards
from embedkit.retrieval.identity import Backend, model_digests


@dataclass(frozen=True)
class Entry:
    """Something in the store: an artifact, unfinished work, or the vectors of one model and prompt."""

    sort: str  # artifact | work | embeddings
    name: str  # key or identity
    kind: str
    path: Path
    bytes: int
    age: float  # seconds since it was made or last touched
    used_by: tuple[str, ...]  # run folders


def entries(store: Store) -> list[Entry]:
    """Everything in the store, with its size, its age and the run folders that use it."""
    users = _users(store)
    result = [
        Entry("artifact", key, read_manifest(folder).kind, folder, _size(folder), _age(folder), users.get(key, ()))
        for key in store.finished()
        for folder in [store.artifacts / key]
    ]
    finished = set(store.finished())
    for folder in _folders(store.work):
        state = "unfinished" if folder.name not in finished else "left over"
        result.append(Entry("work", folder.name, state, folder, _size(folder), _age(folder), ()))
    owned: dict[str, set[str]] = {}  # model digest -> run folders
    for key in finished & users.keys():
        for model in _embedders(store.artifacts / key):
            owned.setdefault(model, set()).update(users[key])
    for use in shards.usage(store.embeddings):
        owners = tuple(sorted(owned.get(use.model, ())))
        result.append(Entry("embeddings", use.identity, "vectors", use.path, use.bytes, _age(use.path), owners))
    return result


def _embedders(folder: Path) -> set[str]:
    """What the vectors of an artifact are kept under, whichever of its towers and backends made them."""
    if read_manifest(folder).type != "model":
        return set()
    with contextlib.suppress(ModelError):  # a damaged one has none to be found again
        return {found for backend in get_args(Backend) for found in model_digests(folder, backend).values()}
    return set()


def garbage(store: Store, *, older_than: float = 0.0) -> list[Entry]:
    """What no existing run folder uses and no running process works on, at least `older_than` seconds old.

    A run says what it uses before its first stage, so what it has made so far is not garbage.
    """
    return [e for e in entries(store) if not e.used_by and e.age >= older_than and not _busy(store, e)]


def collect(store: Store, found: list[Entry]) -> int:
    """Remove these entries, and forget run folders that are gone; the bytes freed."""
    for root, out in _roots(store):
        if not out.is_dir():
            root.unlink(missing_ok=True)
    for left in [p for place in (store.artifacts, store.work, store.embeddings) for p in place.glob(".*.gone")]:
        shutil.rmtree(left, ignore_errors=True)
    freed = 0
    for entry in found:
        with contextlib.suppress(Timeout), FileLock(store.work / f"{entry.name}.lock", timeout=0):
            doomed = entry.path.with_name(f".{entry.path.name}.gone")
            entry.path.replace(doomed)  # out of sight in one step, so that nothing half-removed is ever read
            shutil.rmtree(doomed, ignore_errors=True)
            freed += entry.bytes
    return freed


def verify(store: Store) -> Iterator[str]:
    """One line for every artifact or shard that is not what its manifest says."""
    for key in store.finished():
        try:
            store.verify(key)
        except ArtifactError as error:
            yield str(error)
    yield from shards.verify(store.embeddings)


def _users(store: Store) -> dict[str, tuple[str, ...]]:
    """key -> run folders that still exist and use it, whatever made it included."""
    users: dict[str, set[str]] = {}
    for root, out in _roots(store):
        if out.is_dir():
            for key in json.loads(root.read_text(encoding="utf-8"))["keys"]:
                users.setdefault(key, set()).add(str(out))
    return {key: tuple(sorted(names)) for key, names in users.items()}


def _roots(store: Store) -> list[tuple[Path, Path]]:
    """Every file that says what a run folder uses, and that folder."""
    files = sorted((store.root / "roots").glob("*.json"))
    return [(path, Path(json.loads(path.read_text(encoding="utf-8"))["out"])) for path in files]


def _busy(store: Store, entry: Entry) -> bool:
    if entry.sort != "work":
        return False
    lock = FileLock(store.work / f"{entry.name}.lock")
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")) if root.is_dir() else []


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a running stage tidies its own folder
            total += path.stat().st_size if path.is_file() else 0
    return total


def _age(folder: Path) -> float:
    return max(0.0, time.time() - folder.stat().st_mtime)
