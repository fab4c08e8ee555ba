"""The embedding store: vectors on disk, cut into shards that are complete or absent.

<root>/<identity>/     everything a vector depends on besides its text, as one digest (`VectorIdentity.key`)
    identity.json      the same, readable
    <texts>.npy        float32 (rows, D); <texts> is the digest of the shard's texts, in order
    <texts>.json       {"rows", "dim", "dtype", "bytes", "sha256"}; written last, without it there is no shard

A request's distinct texts, in their order, are cut into shards of a fixed number of rows. A shard is a function of its
identity and texts only: what was stored before never changes what is stored now, appending texts keeps all full shards,
and after a crash encoding goes on at the first shard that is not finished.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embedkit.core.errors import ArtifactError
from embedkit.core.progress import Emit, Progress, ignore, silent
from embedkit.core.spec import digest
from embedkit.core.store import sha256, sync_folder, write_atomically
from embedkit.retrieval.identity import VectorIdentity

SHARD_ROWS: Final = 512
_IDENTITY: Final = "identity.json"

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class StoredVectors:
    """Vectors of n texts in shards on disk. Slices and row numbers give arrays; nothing is held in memory."""

    shards: Sequence[Path]
    shard_rows: int
    places: NDArray[np.int64]  # (n,) each text's row in the shards laid end to end
    dim: int

    @property
    def shape(self) -> tuple[int, int]:
        """(n, D)."""
        return len(self.places), self.dim

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Floats:
        """A copy of the vectors of these rows."""
        places = self.places[rows]
        result = np.empty((len(places), self.dim), dtype=np.float32)
        of_shard = places // self.shard_rows
        for shard in np.unique(of_shard):
            wanted = np.flatnonzero(of_shard == shard)
            vectors = np.load(self.shards[shard], mmap_mode="r", allow_pickle=False)
            result[wanted] = vectors[places[wanted] % self.shard_rows]
        return result

    def array(self) -> Floats:
        """All vectors, (n, D)."""
        result = np.empty(self.shape, dtype=np.float32)
        for start in range(0, len(self), self.shard_rows):
            part = slice(start, start + self.shard_rows)
            result[part] = self[part]
        return result


@dataclass(frozen=True)
class Usage:
    """What one identity's vectors take."""

    identity: str
    model: str  # `identity.model_digest` of the model
    path: Path
    shards: int
    bytes: int


class EmbeddingStore:
    """Vectors under `root`. Processes may share it: whichever writes a shard last wins, and both wrote the same."""

    def __init__(self, root: Path, *, shard_rows: int = SHARD_ROWS) -> None:
        self.root = root
        self.shard_rows = shard_rows

    def get_or_make(
        self,
        identity: VectorIdentity,
        texts: Sequence[str],
        encode: Callable[[Sequence[str]], Floats],
        *,
        progress: Progress = silent,
        emit: Emit = ignore,
    ) -> StoredVectors:
        """Vectors of `texts`; what is not stored yet is made by `encode(texts) -> (n, D)`, a shard at a time."""
        unique = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        distinct, places = list(unique), np.array([unique[text] for text in texts], dtype=np.int64)
        folder = self.root / identity.key
        cuts = [distinct[start : start + self.shard_rows] for start in range(0, len(distinct), self.shard_rows)]
        paths = [folder / f"{digest(cut)}.npy" for cut in cuts]
        missing = [i for i, cut in enumerate(cuts) if not is_complete(paths[i], rows=len(cut))]
        if missing:
            _name_folder(folder, identity)
            with progress(f"encode {identity.task} texts", sum(len(cuts[i]) for i in missing)) as advance:
                for i in missing:
                    _write(paths[i], encode(cuts[i]))
                    emit("shard_written", {"identity": identity.key, "shard": paths[i].stem, "rows": len(cuts[i])})
                    advance(len(cuts[i]))
        dim = int(_read_sidecar(paths[0])["dim"]) if paths else 0
        return StoredVectors(paths, self.shard_rows, places, dim)


def is_complete(path: Path, *, rows: int) -> bool:
    """Whether the shard at `path` was written to its end and has `rows` rows. Its numbers are for `verify` to check."""
    try:
        sidecar = _read_sidecar(path)
        if (sidecar["rows"], sidecar["bytes"]) != (rows, path.stat().st_size):
            return False
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
        return bool(vectors.shape == (rows, sidecar["dim"]) and vectors.dtype == np.float32)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def verify(root: Path) -> Iterator[str]:
    """One line for every finished shard under `root` that is not what was written."""
    for folder in _folders(root):
        for sidecar in sorted(folder.glob("*.json")):
            if sidecar.name == _IDENTITY:
                continue
            path = sidecar.with_suffix(".npy")
            try:
                intact = _read_sidecar(path)["sha256"] == sha256(path)
            except (OSError, ValueError, KeyError, TypeError):
                intact = False
            if not intact:
                yield f"{path}: changed since it was written. Delete it and the .json beside it to encode it again."


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


def _name_folder(folder: Path, identity: VectorIdentity) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / _IDENTITY).is_file():
        write_atomically(folder / _IDENTITY, json.dumps(asdict(identity), indent=1, sort_keys=True))


def _write(path: Path, vectors: Floats) -> None:
    """Write a shard: the vectors, then the sidecar that makes them count."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with draft.open("wb") as file:
        np.save(file, np.ascontiguousarray(vectors, dtype=np.float32), allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    rows, dim = vectors.shape
    facts = {"rows": rows, "dim": dim, "dtype": "float32", "bytes": draft.stat().st_size, "sha256": sha256(draft)}
    draft.replace(path)
    sync_folder(path.parent)
    write_atomically(path.with_suffix(".json"), json.dumps(facts, indent=1, sort_keys=True))


def _read_sidecar(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))


def _folders(root: Path) -> list[Path]:
    """Folders of identities; one that is being made, and has no name yet, is not there yet."""
    return sorted(path.parent for path in root.glob(f"*/{_IDENTITY}") if not path.parent.name.startswith("."))
