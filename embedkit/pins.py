"""Digests of what a recipe takes from outside: local files, folders, installed packages.

A digest is of the content. Files that have not changed since they were last read (same size, modification time and
inode) are not read again; that memory is `files.json` in the store.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from embedkit.core.errors import DataError
from embedkit.core.spec import External, digest, marked
from embedkit.core.stage import Stage
from embedkit.core.store import Store, sha256, write_atomically
from embedkit.plan import Pins

_SETTLED = 2.0  # seconds: a file younger than this may change again within its time stamp's resolution


def pin(stages: Mapping[str, Stage], store: Store) -> Pins:
    """Digest every external file and folder the stages name, and ask every stage and part of one for its facts."""
    memory = _Memory(store.root / "files.json")
    paths = {path for stage in stages.values() for _, path, _ in marked(stage, External) if path is not None}
    digests = {path: memory.digest(path) for path in sorted(paths)}
    facts = {name: stage.facts() for name, stage in stages.items()}
    facts |= {f"{name}/{part}": one.facts() for name, stage in stages.items() for part, one in stage.parts().items()}
    memory.save()
    return Pins(digests, {name: found for name, found in facts.items() if found})


def check_unchanged(stage: Stage, pins: Pins, store: Store) -> None:
    """Raise `DataError` if a file that the stage names is not what it was when the plan was made."""
    now = pin({"": stage}, store)
    for path, found in now.digests.items():
        if found != pins.digests.get(path):
            raise DataError(f"{path}: changed while it was being read; run again")


def _files(folder: Path) -> Iterator[Path]:
    """Files below `folder`, through links too; not hidden ones, and not what runs have put there."""
    seen = set()
    for where, folders, files in os.walk(folder, followlinks=True):
        here = Path(where)
        if here.resolve() in seen or (here != folder and "provenance.json" in files):
            folders.clear()
            continue
        seen.add(here.resolve())
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (here / name for name in files if not name.startswith("."))


class _Memory:
    """Digests of files by path, trusted while the file's size, time and inode stay."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, Any] = {}
        self.changed = False
        with contextlib.suppress(OSError, ValueError):  # absent or damaged: files are read again
            self.known = dict(json.loads(path.read_text(encoding="utf-8")))

    def digest(self, path: Path) -> str:
        """SHA-256 of a file, or of a folder's list of paths and digests."""
        if path.is_dir():
            return digest({p.relative_to(path).as_posix(): self._file(p) for p in sorted(_files(path))})
        return self._file(path)

    def save(self) -> None:
        if self.changed:
            with contextlib.suppress(OSError):  # a store that cannot be written: files are read again next time
                self.path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self.path, json.dumps(self.known, indent=0, sort_keys=True))

    def _file(self, path: Path) -> str:
        stat = path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        known = self.known.get(str(path.resolve()))
        if isinstance(known, dict) and known.get("stamp") == stamp:
            return str(known["sha256"])
        found = sha256(path)
        if time.time() - stat.st_mtime > _SETTLED:
            self.known[str(path.resolve())] = {"stamp": stamp, "sha256": found}
            self.changed = True
        return found
