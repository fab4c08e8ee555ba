"""Shards of the embedding store on disk: vectors, and beside them a sidecar that says what they must be.

<name>.npy     float32 or float16 (rows, D)
<name>.json    {"rows", "dim", "dtype", "bytes", "sha256"}; written last, without it there is no shard
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embedkit.core.errors import ArtifactError
from embedkit.core.store import sha256, sync_folder, write_atomically
from embedkit.retrieval.arrays import save_array

_REMEMBERED: Final = 65_536  # checksums, one a shard
_OPEN: Final = 128  # shards mapped at a time; each holds a file descriptor

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class StoredVectors:
    """Vectors of n texts in shards on disk. Slices and row numbers give arrays; nothing is held in memory."""

    shards: Sequence[Path]
    shard_rows: int
    places: Rows  # (n,) each text's row in the shards laid end to end
    dim: int

    @property
    def shape(self) -> tuple[int, int]:
        """(n, D)."""
        return len(self.places), self.dim

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: slice | Rows) -> Floats:
        """A copy of the vectors of these rows."""
        places = self.places[rows]
        result = np.empty((len(places), self.dim), dtype=np.float32)
        order = np.argsort(places, kind="stable")  # each shard is visited once, front to back
        ordered = places[order]
        first, last = (ordered[[0, -1]] // self.shard_rows).tolist() if len(ordered) else (0, -1)
        for shard in range(first, last + 1):
            start = shard * self.shard_rows
            begin, end = np.searchsorted(ordered, (start, start + self.shard_rows))
            if begin < end:
                result[order[begin:end]] = self._mapped(shard)[ordered[begin:end] - start]
        return result

    def array(self) -> Floats:
        """All vectors, (n, D)."""
        result = np.empty(self.shape, dtype=np.float32)
        for start in range(0, len(self), self.shard_rows):
            part = slice(start, start + self.shard_rows)
            result[part] = self[part]
        return result

    @cached_property
    def _mapped(self) -> Callable[[int], NDArray[Any]]:
        return lru_cache(maxsize=_OPEN)(lambda shard: open_shard(self.shards[shard]))


def write_shard(path: Path, vectors: Floats, *, dtype: str) -> None:
    """Write the vectors (rows, D), then the sidecar that makes them count. Raises `ArtifactError` if it cannot."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_array(draft, np.asarray(vectors, dtype=dtype))
        rows, dim = vectors.shape
        facts = {"rows": rows, "dim": dim, "dtype": dtype, "bytes": draft.stat().st_size, "sha256": sha256(draft)}
        draft.replace(path)
        sync_folder(path.parent)
        write_atomically(path.with_suffix(".json"), json.dumps(facts, indent=1, sort_keys=True))
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise cannot_write(path.parent, error) from error


def cannot_write(folder: Path, error: OSError) -> ArtifactError:
    """What to tell when the store's disk is full, or its folder may not be written to."""
    return ArtifactError(
        f"{folder}: vectors cannot be written ({error.strerror or error}). What was finished stays; "
        "make room or choose another --store, and run the same command again"
    )


def is_intact(path: Path, *, rows: int, dtype: str) -> bool:
    """Whether the shard at `path` was written to its end, has `rows` rows of this type and is still what was written.

    Its bytes are read once a process, and again if the file was touched since.
    """
    try:
        sidecar, found = read_sidecar(path), path.stat()
        if (sidecar["rows"], sidecar["dtype"], sidecar["bytes"]) != (rows, dtype, found.st_size):
            return False
        if sidecar["sha256"] != _checksum(path, found.st_ino, found.st_size, found.st_mtime_ns):
            return False
        vectors = open_shard(path)
        return bool(vectors.shape == (rows, sidecar["dim"]) and vectors.dtype == np.dtype(dtype))
    except (OSError, ValueError, KeyError, TypeError):
        return False


@lru_cache(maxsize=_REMEMBERED)
def _checksum(path: Path, inode: int, size: int, changed: int) -> str:
    """SHA-256 of a file, for as long as the file stays the one these numbers tell."""
    return sha256(path)


def open_shard(path: Path) -> NDArray[Any]:
    """The vectors as they lie on disk, mapped into memory."""
    vectors: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return vectors


def read_sidecar(path: Path) -> dict[str, Any]:
    """What the sidecar of the shard at `path` says."""
    return dict(json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))
