"""Training with a loss of one's own, from Python."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from embedkit.core.errors import DataError
from embedkit.core.pairs import Pairs, write_pairs
from embedkit.core.progress import Progress, silent
from embedkit.core.spec import Reference, marked
from embedkit.core.stage import Artifact, Context
from embedkit.core.stats import read_stats
from embedkit.losses import Loss
from embedkit.training.stage import Train


def train_with(
    loss: Loss,
    *,
    model: str | Path,
    pairs: Pairs | str | Path,
    out: str | Path,
    options: Mapping[str, Any] | None = None,
    others: Mapping[str, str | Path] | None = None,
    work: str | Path | None = None,
    progress: Progress = silent,
) -> list[dict[str, float]]:
    """Train the model in the folder `model` with any `Loss`; its new folder is `out`. What was logged at each step.

    `pairs` are a value, or the folder of an artifact.
    `options` are fields of the stage `train`, as a recipe has them, and `others` are the folders of what they name
    besides: `options={"evaluate": {"data": "questions"}}, others={"questions": folder}`. Trackers write into the folder
    `logs` beside `out`. After an interruption, the same call goes on from its last checkpoint where `work` names a
    folder that is still there; give each training one of its own.
    """
    if Path(out).exists():
        raise DataError(f"out: {str(out)!r} is there already; name a folder that is not")
    stage = Train(**{"model": "model", "pairs": "pairs", **(options or {})}).model_copy(update={"loss": loss})
    with TemporaryDirectory() as passing:
        folder = Path(work or passing)
        shutil.rmtree(folder / "out", ignore_errors=True)
        (folder / "out").mkdir(parents=True)
        inputs = {name: Artifact("", Path(place)) for name, place in (others or {}).items()}
        inputs |= {stage.model: Artifact("", Path(model)), stage.pairs: Artifact("", _folder(pairs, folder / "pairs"))}
        if missing := sorted({name for _, name, _ in marked(stage, Reference)} - inputs.keys()):
            raise DataError(f"others: has no folder of {missing[0]!r}, which options name")
        context = Context(
            folder, folder / "embeddings", progress, name=Path(out).name, logs=Path(out).absolute().parent / "logs"
        )
        stage.run(inputs, folder / "out", context)
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / "out", out)
    return list(read_stats(Path(out))["history"])


def _folder(pairs: Pairs | str | Path, place: Path) -> Path:
    if not isinstance(pairs, Pairs):
        return Path(pairs)
    place.mkdir(exist_ok=True)
    write_pairs(place, pairs)
    return place
