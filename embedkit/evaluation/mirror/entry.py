"""One entry of a mirror: complete or absent."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from filelock import FileLock

from embedkit.core.errors import ArtifactError, DataError
from embedkit.core.store import MANIFEST, digests, sync_folder, sync_tree, write_atomically
from embedkit.evaluation.mirror.facts import TaskFacts
from embedkit.evaluation.mirror.manifest import DATA, Manifest, Origin, verify, write_text

DRAFTS: Final = ".drafts"
Fill = Callable[[Path], str]  # fills the data folder, says its revision
Check = Callable[[Path], object]  # raises `DataError` unless the entry can be evaluated on


def unchecked(entry: Path) -> None:
    """A `Check` that finds nothing."""


def make_entry(mirror: Path, facts: TaskFacts, origin: Origin, fill: Fill, check: Check) -> Manifest:
    """Make the task's entry, unless it is there: `fill` a draft folder, digest it, `check` it, rename it.

    A draft survives a failure, so that a download goes on where it was; one that fails its check does not.
    Raises `ArtifactError` if there is another entry of that name, or the same one but altered.
    """
    place, home = mirror / facts.name, mirror / DRAFTS
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / f"{facts.name}.lock"):
        if origin == "hub" and place.exists():
            return _kept(place, facts.revision)
        draft = home / f"{facts.name}-{origin}-{facts.revision}" / facts.name  # tasks may share a revision
        (draft / DATA).mkdir(parents=True, exist_ok=True)
        revision = fill(draft / DATA)
        if place.exists():
            shutil.rmtree(draft.parent)
            return _kept(place, revision)
        manifest = Manifest(
            task=facts.name,
            path=facts.path,
            revision=revision,
            origin=origin,
            mteb=facts.mteb,
            files=digests(draft),
        )
        sync_tree(draft)
        write_atomically(draft / MANIFEST, write_text(manifest))
        try:
            check(draft)
        except DataError:
            shutil.rmtree(draft.parent)
            raise
        draft.rename(place)
        sync_folder(mirror)
        shutil.rmtree(draft.parent)
    return manifest


def _kept(entry: Path, revision: str) -> Manifest:
    found = verify(entry)
    if found.revision != revision:
        raise ArtifactError(
            f"{entry}: holds revision {found.revision}, not {revision}. "
            "Delete it to mirror the other, or mirror to another folder"
        )
    return found
