"""Entries of a mirror from the hub, on a machine that reaches it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from huggingface_hub import snapshot_download

from embedkit.core.errors import DataError
from embedkit.evaluation.mirror.entry import Check, make_entry, unchecked
from embedkit.evaluation.mirror.facts import TaskFacts
from embedkit.evaluation.mirror.manifest import Manifest

_TABLES: Final = (".parquet", ".jsonl", ".json", ".csv", ".tsv", ".txt", ".arrow")
_PACKED: Final = (".gz", ".zst", ".xz", ".bz2")  # around a table; archives may hold anything and stay away
_CARDS: Final = (".md", ".yaml", ".yml")
Download = Callable[..., Any]


def mirror_from_hub(
    mirror: Path, facts: TaskFacts, *, check: Check = unchecked, download: Download | None = None
) -> Manifest:
    """Download the task's data set at its pinned revision; what was fetched before an interruption is not again.

    Only tables and cards are kept, never scripts or pickles. `download` takes the arguments of
    `huggingface_hub.snapshot_download`, the default. Raises `DataError` if the data cannot be had.
    """

    def fill(folder: Path) -> str:
        try:
            (download or snapshot_download)(
                repo_id=facts.path,
                repo_type="dataset",
                revision=facts.revision,
                local_dir=folder,
                allow_patterns=_patterns(),
            )
        except Exception as error:  # those of the hub, of its HTTP client, of the network and of the disk
            raise _not_fetched(facts, error) from error
        _keep_tables(folder)
        if not any(kept(path) and path.suffix not in _CARDS for path in folder.rglob("*")):
            raise DataError(
                f"{facts.name}: cannot be mirrored: {facts.path} at {facts.revision} has no tables "
                f"({', '.join(_TABLES)}); data sets made by scripts or packed in archives are not fetched"
            )
        return facts.revision

    return make_entry(mirror, facts, "hub", fill, check)


def kept(path: Path) -> bool:
    """Whether a file of a repository is one that a mirror keeps."""
    name = path.with_suffix("") if path.suffix in _PACKED else path
    return path.is_file() and (name.suffix in _TABLES or path.suffix in _CARDS)


def _patterns() -> list[str]:
    return [f"*{suffix}" for suffix in (*_TABLES, *(t + p for t in _TABLES for p in _PACKED), *_CARDS)]


def _keep_tables(folder: Path) -> None:
    """Drop the download's own notes, and whatever a downloader brought that was not asked for."""
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    for path in folder.rglob("*"):
        if path.is_symlink() or (path.is_file() and not kept(path)):
            path.unlink()


def _not_fetched(facts: TaskFacts, error: Exception) -> DataError:
    lines = str(error).strip().splitlines()
    return DataError(
        f"{facts.name}: {facts.path} at {facts.revision} cannot be fetched from the hub: "
        f"{lines[0] if lines else type(error).__name__}"
    )
