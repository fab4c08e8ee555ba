"""The artifact store: one folder an artifact, named by the key of what made it, complete or absent.

artifacts/<key>/      published by one rename; manifest.json lists every file with its digest
work/<key>/           a running or failed stage's own folder: its draft, checkpoints, finished parts
work/<key>.lock       held while a process makes the key
embeddings/           vectors, see embedkit.retrieval.shards
roots/                which run folders use which keys; what no root uses, `gc` may remove
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from secrets import token_hex
from typing import Any

from filelock import FileLock, Timeout

from embedkit.core.errors import ArtifactError, DataError
from embedkit.core.progress import Emit, ignore
from embedkit.core.stage import Artifact

MANIFEST = "manifest.json"
FORMAT = 1


class Busy(ArtifactError):
    """Another process is making this artifact."""


@dataclass(frozen=True)
class Manifest:
    """What an artifact says of itself."""

    key: str
    kind: str
    type: str
    spec: Mapping[str, Any]  # the identity: references are keys, paths are digests
    inputs: Mapping[str, str]  # where in the spec -> key
    files: Mapping[str, str]  # path -> sha256
    made: Mapping[str, Any]  # time, machine, versions, seconds, peak memory: not part of the identity


class Store:
    """Artifacts under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def artifacts(self) -> Path:
        """Folder of finished artifacts."""
        return self.root / "artifacts"

    @property
    def work(self) -> Path:
        """Folder of unfinished work."""
        return self.root / "work"

    @property
    def embeddings(self) -> Path:
        """Root of the embedding store."""
        return self.root / "embeddings"

    def find(self, key: str) -> Artifact | None:
        """The finished artifact of this key, or None."""
        folder = self.artifacts / key
        return Artifact(key, folder) if (folder / MANIFEST).is_file() else None

    def get(self, key: str) -> Artifact:
        """The finished artifact of this key; an `ArtifactError` if there is none."""
        found = self.find(key)
        if found is None:
            raise ArtifactError(f"{self.artifacts / key}: no such artifact in the store; run the recipe to make it")
        return found

    def get_or_make(
        self,
        key: str,
        make: Callable[[Path, Path], Mapping[str, Any]],
        *,
        about: Mapping[str, Any],
        emit: Emit = ignore,
        wait: bool = True,
    ) -> Artifact:
        """The artifact of this key, made first if the store has none.

        `make(draft, work)` fills the empty folder `draft` and may keep whatever helps a later attempt in `work`; it
        returns the manifest's `made` entry. One process makes a key at a time; the others wait and find it made, or,
        if they are not to `wait`, get a `Busy` error. `about` has the manifest's `kind`, `type`, `spec` and `inputs`.
        """
        if found := self.find(key):
            return found
        work = self.work / key
        draft = work / "draft"
        with self._lock(key, emit, wait=wait):
            if found := self.find(key):
                return found
            shutil.rmtree(draft, ignore_errors=True)
            shutil.rmtree(self.artifacts / key, ignore_errors=True)  # what is left of a folder that someone deleted
            (work / "state").mkdir(parents=True, exist_ok=True)
            draft.mkdir()
            made = make(draft, work / "state")
            emit("draft_written", {"key": key})
            files = digests(draft)
            manifest = {"format": FORMAT, "key": key, **about, "files": files, "made": dict(made)}
            sync_tree(draft)
            write_atomically(draft / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True))
            for path in draft.rglob("*"):
                if path.is_file():
                    path.chmod(0o444)  # run folders link here; saving a model into one must not change the artifact
            emit("manifest_written", {"key": key})
            self.artifacts.mkdir(parents=True, exist_ok=True)
            draft.rename(self.artifacts / key)
            sync_folder(self.artifacts)
            emit("published", {"key": key})
            shutil.rmtree(work, ignore_errors=True)
        return self.get(key)

    @contextmanager
    def _lock(self, key: str, emit: Emit, *, wait: bool) -> Iterator[None]:
        self.work.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.work / f"{key}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise Busy(f"{self.work / key}: another process is making this artifact") from None
            emit("waiting", {"key": key, "why": "another process is making this artifact"})
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def manifest(self, key: str) -> Manifest:
        """The manifest of a finished artifact."""
        return read_manifest(self.get(key).path)

    def finished(self) -> Iterator[str]:
        """Keys of all finished artifacts."""
        if self.artifacts.is_dir():
            found = (p for p in self.artifacts.iterdir() if not p.name.startswith("."))
            yield from sorted(p.name for p in found if (p / MANIFEST).is_file())

    def verify(self, key: str) -> None:
        """Raise unless every file is what the manifest says."""
        folder = self.get(key).path
        expected = read_manifest(folder).files
        found = digests(folder)
        wrong = sorted(p for p in expected.keys() | found.keys() if expected.get(p) != found.get(p))
        if wrong:
            raise ArtifactError(
                f"{folder}: changed since it was made: {', '.join(wrong)}. Delete the folder to remake it."
            )


def read_manifest(folder: Path) -> Manifest:
    """The manifest in an artifact's folder."""
    path = folder / MANIFEST
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}). Delete the folder to remake it.") from None
    if raw.get("format") != FORMAT:
        raise ArtifactError(
            f"{path}: store format {raw.get('format')!r}; this embedkit reads format {FORMAT}. "
            "Use another --store, or the embedkit that wrote this one."
        )
    names = ("key", "kind", "type", "spec", "inputs", "files", "made")
    return Manifest(**{name: raw[name] for name in names})


def digests(folder: Path) -> dict[str, str]:
    """Path below `folder` -> SHA-256 of that file, the manifest left out."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.relative_to(folder) != Path(MANIFEST))
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Write `text` so that a reader finds the old file or the whole new one, also after a crash."""
    draft = path.with_name(f".{path.name}.{token_hex(4)}.tmp")  # processes of two machines may have one number
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def check_outside(path: Path, folder: Path) -> None:
    """Raise `DataError` if `path` lies in `folder`, which something made and nobody is to change."""
    if path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{path}: is inside {folder}, which must stay as it was made; write to another folder")


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below `folder` to the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        elif path.is_dir():
            sync_folder(path)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
