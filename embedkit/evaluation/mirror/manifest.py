"""What a mirror holds, and the check that it still does.

<mirror>/<task>/data/           files in the layout of the task's data set repository on the hub
<mirror>/<task>/manifest.json   which task, which revision, where it came from, SHA-256 of every file

The check finds what happens to files: edits, lost and added ones, damaged disks, half a copy. It is no signature: who
rewrites the manifest as well can forge an entry.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import ValidationError, model_validator

from embedkit.core.errors import ArtifactError, DataError, did_you_mean, first_few
from embedkit.core.spec import Spec, digest
from embedkit.core.store import MANIFEST, digests

DATA: Final = "data"
Origin = Literal["hub", "beir", "tables"]


class Manifest(Spec):
    """What one entry of a mirror says of itself.

    An entry from the hub has the revision that mteb pins, any other one that names its origin and content and so can
    never pass for the official data: `beir-<16 hexadecimal digits>`.
    """

    format: Literal[1] = 1
    task: str
    path: str  # the hub repository that it stands for
    revision: str
    origin: Origin
    mteb: str  # version of mteb that named repository and revision
    files: Mapping[str, str]  # path below the entry -> SHA-256

    @model_validator(mode="after")
    def _honest(self) -> Self:
        if self.origin != "hub" and not self.revision.startswith(f"{self.origin}-"):
            raise ValueError(f"revision {self.revision!r} does not start with its origin, '{self.origin}-'")
        return self

    @property
    def digest(self) -> str:
        """Of all files: equal for entries with the same bytes."""
        return digest(dict(self.files))


def tasks_in(mirror: Path) -> list[str]:
    """Names of the tasks that a mirror has an entry for."""
    return sorted(path.parent.name for path in mirror.glob(f"[!.]*/{MANIFEST}"))


def entry_of(mirror: Path, task: str) -> Path:
    """The folder of a task's entry. Raises `DataError` if the mirror has none."""
    if not mirror.is_dir():
        raise DataError(f"{mirror}: no such folder; expected a mirror, as `embedkit mirror {task} --to {mirror}` makes")
    if task not in (known := tasks_in(mirror)):
        has = ", ".join(known[:10]) + (" ..." if len(known) > 10 else "") if known else "nothing"
        raise DataError(
            f"{mirror}: has {has}, but no {task}{did_you_mean(task, known) or ';'} "
            f"`embedkit mirror {task} --to {mirror}`, on a machine with a network, adds it"
        )
    return mirror / task


def read_manifest(entry: Path) -> Manifest:
    """The manifest of an entry; imports neither mteb nor datasets, reads no data.

    Raises `DataError` if there is none, `ArtifactError` if it cannot be used.
    """
    path = entry / MANIFEST
    if not path.is_file():
        raise DataError(
            f"{entry}: is no entry of a mirror, it has no {MANIFEST}; "
            f"`embedkit mirror {entry.name} --to {entry.parent}`, on a machine with a network, makes one"
        )
    try:
        manifest = Manifest.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: is not a mirror's manifest: {_reason(error)}. {_remedy(entry)}") from None
    if manifest.task != entry.name:
        raise ArtifactError(f"{path}: is that of {manifest.task}, not of {entry.name}. {_remedy(entry)}")
    return manifest


def verify(entry: Path) -> Manifest:
    """The manifest, after every file was held against it. Raises one line for each that is not what it was."""
    manifest = read_manifest(entry)
    expected, found = manifest.files, digests(entry)
    wrong = [
        f"{entry / name}: {'missing' if name not in found else 'was not there' if name not in expected else 'altered'} "
        f"since the mirror was made. {_remedy(entry, manifest)}"
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    ]
    if wrong:
        raise ArtifactError(*first_few(wrong, limit=5))
    return manifest


def write_text(manifest: Manifest) -> str:
    """The manifest as a file's text."""
    return json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"


def _remedy(entry: Path, manifest: Manifest | None = None) -> str:
    again = {
        None: "mirror the task again",
        "hub": f"run `embedkit mirror {entry.name} --to {entry.parent}`",
        "beir": f"run `embedkit mirror --from-beir FOLDER --task {entry.name} --to {entry.parent}`",
        "tables": f"run `embedkit mirror --from-tables FOLDER --task {entry.name} --to {entry.parent}`",
    }[manifest.origin if manifest else None]
    return f"Delete {entry} and {again}"


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first: Any = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
    return str(error)
