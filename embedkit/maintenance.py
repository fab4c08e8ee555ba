"""Looking after a store: what is in it, what nothing uses any more, what is damaged."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from embedkit.core.errors import ArtifactError
from embedkit.core.store import Store, read_manifest
from embedkit.retrieval import shards
from embedkit.retrieval.identity import digest_of_files


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
    for key in finished:
        if users.get(key):
            owned.setdefault(digest_of_files(read_manifest(store.artifacts / key).files), set()).update(users[key])
    for use in shards.usage(store.embeddings):
        owners = tuple(sorted(owned.get(use.model, ())))
        result.append(Entry("embeddings", use.identity, "vectors", use.path, use.bytes, _age(use.path), owners))
    return result


def garbage(store: Store, *, older_than: float = 0.0) -> list[Entry]:
    """What no existing run folder uses and no running process works on, at least `older_than` seconds old."""
    return [e for e in entries(store) if not e.used_by and e.age >= older_than and not _busy(store, e)]


def collect(store: Store, found: list[Entry]) -> int:
    """Remove these entries; the bytes freed."""
    for entry in found:
        doomed = entry.path.with_name(f".{entry.path.name}.gone")
        entry.path.replace(doomed)  # out of sight in one step, so that nothing half-removed is ever read
        shutil.rmtree(doomed)
        if entry.sort == "work":
            (store.work / f"{entry.name}.lock").unlink(missing_ok=True)
    return sum(entry.bytes for entry in found)


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
    for path in sorted((store.root / "roots").glob("*.json")):
        root = json.loads(path.read_text(encoding="utf-8"))
        if not Path(root["out"]).is_dir():
            path.unlink()
            continue
        for key in root["keys"]:
            users.setdefault(key, set()).add(root["out"])
    return {key: tuple(sorted(names)) for key, names in users.items()}


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
    return sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def _age(folder: Path) -> float:
    return max(0.0, time.time() - folder.stat().st_mtime)
