"""The embedding store: vectors on disk, cut into shards that are complete or absent.

<root>/<identity>/     everything a vector depends on besides its text, as one digest (`VectorIdentity.key`)
    identity.json      the same, readable
    <texts>.npy        the vectors of a shard, and beside them its sidecar (`retrieval.shard_files`); <texts> is the
                       digest of the shard's texts, in order
    .<texts>.lock      held by the process that makes the shard

A request's distinct texts, in their order, are cut into shards of a fixed number of rows. A shard is a function of its
identity and texts only: what was stored before never changes what is stored now, appending texts keeps all full shards,
and after a crash encoding goes on at the first shard that is not finished.

Processes may share a store. Each makes the shards that no other is making, and waits for those; what a process that
died has left undone, another makes.
"""

import json
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from embedkit.core.errors import ArtifactError
from embedkit.core.progress import Emit, Progress, ignore, silent
from embedkit.core.store import sha256, write_atomically
from embedkit.retrieval.distinct import Distinct, distinct
from embedkit.retrieval.identity import VectorIdentity
from embedkit.retrieval.shard_files import StoredVectors, cannot_write, is_intact, read_sidecar, write_shard

# Sorting by length within a shard leaves 0.8 % padding in batches of 2,048 tokens (tldr pages, whose lengths vary
# most of the sets at hand), 6 % in batches of 16,384. More rows save less, and a kill costs the shard in work.
SHARD_ROWS: Final = 4096
_IDENTITY: Final = "identity.json"

Floats = NDArray[np.float32]
Encode = Callable[[Iterable[Sequence[str]]], Generator[Floats, None, None]]
"""Texts of one shard after the other -> (rows, D) vectors of one shard after the other."""


@dataclass(frozen=True)
class Usage:
    """What one identity's vectors take."""

    identity: str
    model: str  # `identity.model_digest` of the model
    path: Path
    shards: int
    bytes: int


@dataclass(frozen=True)
class _Shard:
    """One to be made: where it goes and which of the distinct texts it has."""

    path: Path
    part: slice

    @property
    def rows(self) -> int:
        return int(self.part.stop - self.part.start)

    def lock(self) -> FileLock:
        # what tokenises runs in a thread of its own and takes locks that are given back where vectors are written
        return FileLock(self.path.with_name(f".{self.path.stem}.lock"), thread_local=False)


class EmbeddingStore:
    """Vectors under `root`."""

    def __init__(self, root: Path, *, shard_rows: int = SHARD_ROWS) -> None:
        self.root = root
        self.shard_rows = shard_rows

    def get_or_make(
        self,
        identity: VectorIdentity,
        texts: Sequence[str],
        encode: Encode,
        *,
        progress: Progress = silent,
        emit: Emit = ignore,
    ) -> StoredVectors:
        """Vectors of `texts`; what is not stored yet, or not as it was written, is made by `encode`.

        Texts are read one after the other, and those of a shard that is made once more; they are never all held.
        Raises `ArtifactError` if the store cannot be written to.
        """
        found = distinct(texts)
        shards = self._cut(identity, found)
        missing = [shard for shard in shards if not _made(shard, identity)]
        if missing:
            making = _Making(identity, texts, found, encode, emit)
            _name_folder(missing[0].path.parent, identity)
            with progress(f"encode {identity.task} texts", sum(shard.rows for shard in missing)) as advance:
                making.run(missing, advance)
        dim = int(read_sidecar(shards[0].path)["dim"]) if shards else 0
        return StoredVectors([shard.path for shard in shards], self.shard_rows, found.places, dim)

    def _cut(self, identity: VectorIdentity, found: Distinct) -> list[_Shard]:
        """The shards of these texts, whether made or not."""
        folder, total = self.root / identity.key, len(found.rows)
        starts = range(0, total, self.shard_rows)
        parts = [slice(start, min(start + self.shard_rows, total)) for start in starts]
        return [_Shard(folder / f"{found.name(part)}.npy", part) for part in parts]


@dataclass(frozen=True)
class _Making:
    """The making of one request's missing shards."""

    identity: VectorIdentity
    texts: Sequence[str]
    found: Distinct
    encode: Encode
    emit: Emit

    def run(self, missing: Sequence[_Shard], advance: Callable[[int], None]) -> None:
        """Make what no other process makes, then wait for the others, and make what they did not."""
        while missing:
            made = self._make(missing, advance)
            rest = []
            for shard in missing:
                if shard.path in made:
                    continue
                if _made(shard, self.identity):
                    advance(shard.rows)
                else:
                    rest.append(shard)
            missing = rest
            if missing:
                self.emit("waiting", {"shard": missing[0].path.stem, "why": "another process is making this shard"})
                self._wait_for(missing[0])

    def _wait_for(self, shard: _Shard) -> None:
        """Wait until no other process makes this shard, because it is made or because that process died."""
        lock = shard.lock()
        lock.acquire()
        _give_back(lock, made=_made(shard, self.identity))

    def _make(self, missing: Sequence[_Shard], advance: Callable[[int], None]) -> set[Path]:
        """Make every shard that no other process makes; which these were."""
        taken: deque[tuple[_Shard, FileLock]] = deque()
        made = set()
        try:
            with closing(self.encode(self._take(missing, taken))) as encoded:  # once closed, no more are taken
                for vectors in encoded:
                    shard, lock = taken[0]
                    write_shard(shard.path, vectors, dtype=self.identity.storage)
                    taken.popleft()
                    _give_back(lock, made=True)
                    made.add(shard.path)
                    facts = {"identity": self.identity.key, "shard": shard.path.stem, "rows": shard.rows}
                    self.emit("shard_written", facts)
                    advance(shard.rows)
        finally:
            for _, lock in taken:
                _give_back(lock, made=False)
        return made

    def _take(self, missing: Sequence[_Shard], taken: deque[tuple[_Shard, FileLock]]) -> Iterator[list[str]]:
        """The texts of every shard that no other process has taken, which is then ours."""
        for shard in missing:
            lock = shard.lock()
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            except OSError as error:
                raise cannot_write(shard.path.parent, error) from error
            if _made(shard, self.identity):
                _give_back(lock, made=True)
                continue
            taken.append((shard, lock))
            yield [self.texts[row] for row in self.found.rows[shard.part].tolist()]


def verify(root: Path) -> Iterator[str]:
    """One line for every finished shard under `root` that is not what was written."""
    for folder in _folders(root):
        for sidecar in sorted(folder.glob("*.json")):
            if sidecar.name == _IDENTITY:
                continue
            path = sidecar.with_suffix(".npy")
            try:
                intact = read_sidecar(path)["sha256"] == sha256(path)
            except (OSError, ValueError, KeyError, TypeError):
                intact = False
            if not intact:
                yield f"{path}: changed since it was written. The next run that needs it will encode it again."


def usage(root: Path) -> list[Usage]:
    """What is stored, one entry an identity."""
    return [_usage(folder) for folder in _folders(root)]


def _usage(folder: Path) -> Usage:
    try:
        model = str(json.loads((folder / _IDENTITY).read_text(encoding="utf-8"))["model"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / _IDENTITY}: cannot be read ({error!r}). Delete its folder.") from None
    files = [path for path in folder.iterdir() if path.is_file()]
    shards = sum(path.suffix == ".npy" and path.with_suffix(".json").is_file() for path in files)
    return Usage(folder.name, model, folder, shards, sum(path.stat().st_size for path in files))


def _give_back(lock: FileLock, *, made: bool) -> None:
    """Release a shard's lock, and remove its file if that is not needed again: who comes later finds the shard."""
    if made:
        Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def _made(shard: _Shard, identity: VectorIdentity) -> bool:
    return is_intact(shard.path, rows=shard.rows, dtype=identity.storage)


def _name_folder(folder: Path, identity: VectorIdentity) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / _IDENTITY).is_file():
            write_atomically(folder / _IDENTITY, json.dumps(asdict(identity), indent=1, sort_keys=True))
    except OSError as error:
        raise cannot_write(folder, error) from error


def _folders(root: Path) -> list[Path]:
    """Folders of identities; one that is being made, and has no name yet, is not there yet."""
    return sorted(path.parent for path in root.glob(f"*/{_IDENTITY}") if not path.parent.name.startswith("."))
