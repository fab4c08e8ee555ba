"""Held-out scores of candidate soups. A score, once found, survives a crash."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from embedkit.core.dataset import read_dataset
from embedkit.core.errors import DataError
from embedkit.core.stage import Artifact, Context
from embedkit.core.store import write_atomically
from embedkit.measures.ranking import mean_scores
from embedkit.retrieval.encoder import open_encoder
from embedkit.retrieval.scoring import score_split
from embedkit.soups.checkpoints import Checkpoint, write_merged
from embedkit.soups.methods import Uniform, merge_tensors
from embedkit.soups.search import Greedy, Members


def scorer(
    method: Greedy, models: Sequence[Artifact], members: Sequence[Checkpoint], data: Artifact, context: Context
) -> Callable[[Members], float]:
    """A function that gives the held-out metric of the mean of some members."""
    dataset = read_dataset(data.path)
    if not dataset.qrels.get(method.split):
        raise DataError(
            f"{method.data}: has no {method.split!r} queries to choose a soup by; it has {sorted(dataset.qrels)}"
        )
    cache = context.work / "trials.json"
    known: dict[str, float] = json.loads(cache.read_text(encoding="utf-8")) if cache.is_file() else {}

    def score(chosen: Members) -> float:
        name = "+".join(models[place].key for place in chosen)
        if name not in known:
            folder = models[chosen[0]].path if len(chosen) == 1 else _mean([members[i] for i in chosen], context.work)
            depth = max(100, int(method.metric.partition("@")[2]))
            encoder = open_encoder(folder, context)
            values = score_split(
                encoder,
                dataset,
                method.split,
                metrics=(method.metric,),
                top_k=depth,
                index=method.index,
                progress=context.progress,
            )
            known[name] = mean_scores(values)[method.metric]
            write_atomically(cache, json.dumps(known, indent=1))
            context.emit("soup_scored", {"members": [models[i].key for i in chosen], "score": known[name]})
        return known[name]

    return score


def _mean(members: Sequence[Checkpoint], work: Path) -> Path:
    """The uniform soup of `members` in a folder that the next candidate replaces."""
    folder = work / "candidate"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    write_merged(members, None, folder, lambda name, tensors, base: merge_tensors(Uniform(), tensors, base, name))
    return folder
