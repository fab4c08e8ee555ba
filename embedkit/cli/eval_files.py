"""What `eval` writes for other tools: runs for TREC's, results for mteb's leaderboard."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from embedkit.core.stage import Artifact, Stage
from embedkit.evaluation import submission
from embedkit.evaluation.origin import about
from embedkit.evaluation.results import read_result
from embedkit.evaluation.trec import write_qrels, write_run
from embedkit.retrieval.identity import model_digest


def write_trec(folder: Path, made: Mapping[tuple[str, str], Artifact]) -> Iterator[Path]:
    """Write `<model>.<task>.run` for each (model, task) -> result that ranks, and `<task>.qrels`; what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    judged = set()
    for (model, task), artifact in made.items():
        for part in read_result(artifact.path).parts:
            if not part.run:
                continue
            name = re.sub(r"[^\w.-]+", "-", f"{task}-{part.name}" if part.name else task)
            write_run(folder / f"{model}.{name}.run", part.run, tag=model)
            yield folder / f"{model}.{name}.run"
            if name not in judged:
                judged.add(name)
                write_qrels(folder / f"{name}.qrels", part.qrels)
                yield folder / f"{name}.qrels"


def submit(stage: Stage, model: Path, results: Mapping[str, Path], to: Path, name: str) -> dict[str, Any]:
    """Write results, task -> task_scores folder, as the leaderboard takes them; what became of them."""
    source = getattr(stage, "source", None)
    revision = getattr(source, "revision", None) or model_digest(model)  # a hub's commit, else a digest of the weights
    known = about(source.locate()) if source is not None else about(model)  # the copy in the store has no card
    found = submission.write(results, model, to, name=name, revision=revision, about=known)
    lines = [f"results for the leaderboard: {found.folder}, {len(found.written)} tasks written"]
    lines += [f"{task}: left out: {why}" for task, why in found.left_out.items()]
    lines += [f"{task}: {what}" for task, what in found.partial.items()]
    return {**asdict(found), "folder": str(found.folder), "told": lines}
