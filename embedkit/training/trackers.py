"""Where else than in stats.json the numbers of a training go: TensorBoard, Weights & Biases, trackio, MLflow."""

import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from embedkit.core.errors import EmbedkitError
from embedkit.training.distributed import is_main

Tracker = Literal["tensorboard", "wandb", "trackio", "mlflow"]
PROJECT: Final = "embedkit"


def check_installed(trackers: Sequence[Tracker]) -> None:
    """Raise `EmbedkitError` if a tracker is not installed."""
    for tracker in trackers:
        if not importlib.util.find_spec(tracker):
            raise EmbedkitError(f"trackers: {tracker} is not installed; `pip install {tracker}`, or leave it out")


@contextmanager
def tracking(trackers: Sequence[Tracker], folder: Path) -> Iterator[None]:
    """Within it, what trackers write themselves goes below `folder`, and nothing leaves the machine unless the user's
    settings of the tracker say where to: all of them are read from the environment, and those that are there stay."""
    if not trackers:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    added = {name: value for name, value in _settings(trackers, folder).items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        if "wandb" in trackers:
            _end_run()
        for name in added:
            os.environ.pop(name, None)


def callbacks(trackers: Sequence[Tracker], folder: Path, *, name: str, done: int | None) -> list[Any]:
    """Those of the trainer's callbacks that cannot be named to it. `name`: of the training, among others of the same
    run; `done`: the step that is gone on from, if any.

    What an interrupted run has told TensorBoard of later steps is to be told anew, so it is hidden there: with all
    that is in the same folder, so each training has its own, and one process alone writes there.
    """
    if "tensorboard" not in trackers or not is_main():
        return []
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations.integration_utils import TensorBoardCallback

    writer = SummaryWriter(str(folder / "tensorboard" / name), purge_step=0 if done is None else done + 1)
    return [TensorBoardCallback(writer)]  # type: ignore[no-untyped-call]


def named(trackers: Sequence[Tracker]) -> list[str]:
    """Those that the trainer is given by name, as its `report_to`."""
    return [tracker for tracker in trackers if tracker != "tensorboard"]


def _settings(trackers: Sequence[Tracker], folder: Path) -> Mapping[str, str]:
    found: dict[str, str] = {}
    if "wandb" in trackers:
        found |= {"WANDB_DIR": str(folder), "WANDB_PROJECT": PROJECT, "WANDB_SILENT": "true"}
        if not _logged_in():
            found["WANDB_MODE"] = "offline"  # `wandb sync` sends it later
    if "trackio" in trackers:
        found["TRACKIO_DIR"] = str(folder / "trackio")
    if "mlflow" in trackers:
        found |= {"MLFLOW_TRACKING_URI": f"sqlite:///{folder.resolve()}/mlflow.db", "MLFLOW_EXPERIMENT_NAME": PROJECT}
    return found


def _end_run() -> None:
    """The trainer leaves W&B's run open, and the next stage's numbers would go on in it."""
    import wandb

    if wandb.run is not None:
        wandb.finish()


def _logged_in() -> bool:
    """Whether there is a key for W&B, which would ask for one on the terminal. The library itself is not asked: once it
    is imported, it takes no settings from the environment any more."""
    if "WANDB_API_KEY" in os.environ:
        return True
    server = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc(os.environ.get("NETRC")).authenticators(server) is not None
    except (OSError, NetrcParseError):
        return False
