"""What an index takes long to build, kept in a folder: complete or absent, and checked before it is used again."""

import json
import logging
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil

from embedkit.core.errors import EmbedkitError
from embedkit.core.spec import digest
from embedkit.core.store import sha256, sync_tree, write_atomically

logger = logging.getLogger(__name__)

_CONTENTS: Final = "contents.json"
_HERE: Final = re.sub(r"\W", "-", socket.gethostname())


def get_or_build(work: Path, about: Mapping[str, Any], build: Callable[[Path], None]) -> tuple[Path, bool]:
    """The folder in `work` of what `about` describes, and whether it was there; else `build(folder)` fills it.

    A folder of which a file is missing or changed is built again. Raises `EmbedkitError` if `work` cannot be written.
    """
    key = digest(about)
    folder = work / f"{about['index']}-{key[:16]}"
    if _intact(folder, key):
        return folder, True
    if folder.exists():
        logger.warning("%s: not what was built, or not all of it; building it again", folder)
    draft = folder.with_name(f".{folder.name}.{_HERE}.{os.getpid()}.tmp")
    try:
        _remove_left(folder)
        draft.mkdir(parents=True)
        build(draft)
        files = {path.name: [path.stat().st_size, sha256(path)] for path in sorted(draft.iterdir())}
        sync_tree(draft)
        write_atomically(draft / _CONTENTS, json.dumps({"key": key, "files": files}, indent=1, sort_keys=True))
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    except OSError as error:
        raise EmbedkitError(
            f"{work}: the index cannot be kept there ({error}); make room or give another folder"
        ) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder, False


@contextmanager
def or_temporary(work: Path | None) -> Iterator[Path]:
    """`work`, or a folder that is gone afterwards."""
    if work is not None:
        yield work
        return
    with tempfile.TemporaryDirectory(prefix="embedkit-index-") as folder:
        yield Path(folder)


def _remove_left(folder: Path) -> None:
    """What processes of this machine left of it that were killed while they built it."""
    for left in folder.parent.glob(f".{folder.name}.{_HERE}.*.tmp"):
        number = left.name.split(".")[-2]
        if not number.isdigit() or int(number) == os.getpid() or not psutil.pid_exists(int(number)):
            shutil.rmtree(left, ignore_errors=True)


def _intact(folder: Path, key: str) -> bool:
    try:
        contents = json.loads((folder / _CONTENTS).read_text(encoding="utf-8"))
        return contents["key"] == key and all(
            (folder / name).stat().st_size == size and sha256(folder / name) == found
            for name, (size, found) in contents["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False
