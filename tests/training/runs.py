"""Small trainings for tests; run as a program, one that kills itself at a named event."""

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from embedkit.core.pairs import Pair, Pairs, read_pairs, write_pairs
from embedkit.core.stage import Artifact, Context
from embedkit.training.plain import TrainST
from embedkit.training.stage import Train

STAGES = TypeAdapter(Train | TrainST)
TRAIN = Train(
    model="model", pairs="pairs", seed=3, steps=14, batch_size=16, learning_rate=2e-3, negatives=2, checkpoint_every=3
)
TRAIN_ST = TrainST(
    model="model", pairs="pairs", seed=3, steps=14, batch_size=16, learning_rate=2e-3, checkpoint_every=3
)


def run(
    stage: Train | TrainST,
    model: Path,
    pairs: Path,
    folder: Path,
    emit: Callable[[str, Mapping[str, Any]], None] | None = None,
    **others: Path,
) -> Path:
    """Run a stage with its work folder and artifact below `folder`; the artifact's folder. `others` are more inputs."""
    out = folder / "out"
    out.mkdir(parents=True)
    (folder / "work").mkdir(exist_ok=True)
    context = Context(work=folder / "work", embeddings=folder / "embeddings")
    inputs = {"model": Artifact("m" * 64, model), "pairs": Artifact("p" * 64, pairs)}
    inputs |= {name: Artifact(name[0] * 64, path) for name, path in others.items()}
    stage.run(inputs, out, context if emit is None else replace(context, emit=emit))
    return out


def scored_pairs(dataset: Path, out: Path) -> Path:
    """The training pairs of a dataset with three negatives each, and targets that look like a teacher's."""
    pairs = read_pairs(dataset)
    ids = list(pairs.corpus.ids)

    def scored(i: int, row: Pair) -> Pair:
        negatives = tuple(d for d in (ids[(7 * i + k) % len(ids)] for k in range(4)) if d not in row.known)[:3]
        return replace(row, negatives=negatives, positive_targets=(0.9,), negative_targets=(0.6, 0.3, 0.1))

    out.mkdir(parents=True, exist_ok=True)
    write_pairs(out, Pairs(pairs.corpus, pairs.queries, [scored(i, row) for i, row in enumerate(pairs.rows)]))
    return out


def main(spec: str, model: str, pairs: str, folder: str, event: str, number: str) -> None:
    """Run a stage and die without warning at the event of that name and number."""
    seen = 0

    def emit(name: str, facts: Mapping[str, Any]) -> None:
        nonlocal seen
        seen += name == event
        if seen == int(number):
            os.kill(os.getpid(), signal.SIGKILL)

    run(STAGES.validate_python(json.loads(spec)), Path(model), Path(pairs), Path(folder), emit)


if __name__ == "__main__":
    main(*sys.argv[1:])
