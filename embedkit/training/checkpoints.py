"""Checkpoints that are complete or ignored, whatever happened while they were written."""

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from embedkit.core.store import digests, sync_tree, write_atomically

CHECKPOINTS = "checkpoints"  # in a training's work folder
SEAL = "complete.json"
STATE = "trainer_state.json"
REMEMBERED = "objective.safetensors"
_log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoint folders of one training run, as the Hugging Face trainer writes them under `root`.

    The trainer writes a folder file by file; `seal` then flushes it and writes the digests of its files, in one
    atomic step, as the mark that it is complete.
    """

    def __init__(self, root: Path, *, keep: int = 2) -> None:
        self.root = root
        self.keep = keep

    def folder(self, step: int) -> Path:
        """Where the trainer writes the checkpoint of a step."""
        return self.root / f"checkpoint-{step}"

    def remember(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Add to the checkpoint of `step`, before it is sealed, what the trainer does not save."""
        if tensors:
            save_file(dict(tensors), self.folder(step) / REMEMBERED)

    def remembered(self, step: int) -> dict[str, Tensor]:
        """What `remember` was given."""
        path = self.folder(step) / REMEMBERED
        return load_file(path) if path.exists() else {}

    def seal(self, step: int) -> None:
        """Mark the checkpoint of `step` as complete, then delete all but the last `keep`."""
        folder = self.folder(step)
        files = digests(folder)
        sync_tree(folder)
        write_atomically(folder / SEAL, json.dumps(files, indent=1, sort_keys=True))
        for old in self.steps()[: -self.keep]:
            self._delete(old)

    def steps(self) -> list[int]:
        """Steps that have a folder, complete or not, in order."""
        names = [path.name.removeprefix("checkpoint-") for path in self.root.glob("checkpoint-*")]
        return sorted(int(name) for name in names if name.isdigit())

    def newest(self) -> int | None:
        """The last step whose checkpoint is complete and undamaged; folders that are neither are deleted."""
        for step in reversed(self.steps()):
            if self._intact(step):
                return step
            _log.warning("the checkpoint of step %d is incomplete or damaged; going back to the one before", step)
            self._delete(step)
        return None

    def history(self, step: int) -> list[dict[str, Any]]:
        """What the trainer logged up to this checkpoint."""
        state = json.loads((self.folder(step) / STATE).read_text(encoding="utf-8"))
        return list(state["log_history"])

    def _intact(self, step: int) -> bool:
        try:
            expected = json.loads((self.folder(step) / SEAL).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        found = digests(self.folder(step))
        found.pop(SEAL)
        return bool(found == expected)

    def _delete(self, step: int) -> None:
        (self.folder(step) / SEAL).unlink(missing_ok=True)  # first, so that half a deletion is not half a checkpoint
        shutil.rmtree(self.folder(step))
