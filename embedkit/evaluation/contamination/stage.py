"""The `contamination` stage: training pairs and tasks in, what they share out."""

import json
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, JsonValue, model_validator

from embedkit.core.errors import Problem
from embedkit.core.estimate import Estimate, Size
from embedkit.core.spec import ModelRef, PairsRef
from embedkit.core.stage import Artifact, Context, Stage
from embedkit.core.stats import write_stats
from embedkit.evaluation.contamination.check import Similar, check, findings
from embedkit.evaluation.contamination.finder import NearBy, Rules
from embedkit.evaluation.contamination.tasks import open_tasks
from embedkit.evaluation.contamination.training import Training
from embedkit.evaluation.stage import TaskName
from embedkit.evaluation.tasks import AnyTask, LocalTask

FILE = "contamination.json"
Share = Annotated[float, Field(gt=0, le=1)]


class Contamination(Stage):
    """What training pairs share with the tasks that models are measured by: queries, documents, judged pairs.

    The artifact is contamination.json; the `package` stage writes its figures, without texts, into the model card.
    """

    kind: Literal["contamination"] = "contamination"
    produces: ClassVar[str] = "contamination"

    train: PairsRef
    tasks: Annotated[Mapping[TaskName, AnyTask], Field(min_length=1)]  # as of an `evaluate` stage
    near: Share | None = 0.9  # Jaccard similarity of runs of three words from which texts are nearly the same
    contained: Share | None = 0.8  # share of a text's runs of 13 words that another one has, if it is inside it
    near_by: NearBy = "auto"
    model: ModelRef | None = None  # by its vectors, texts are looked for in other words too
    similarity: Share | None = None  # the cosine from which they are the same in other words

    @model_validator(mode="after")
    def _together(self) -> "Contamination":
        if (self.model is None) != (self.similarity is None):
            raise ValueError("`model` and `similarity` go together: whose vectors, and from which cosine texts match")
        return self

    def conflicts(self, stages: Mapping[str, Stage]) -> Iterator[Problem]:
        """Official tasks that mteb does not have."""
        for name, task in self.tasks.items():
            for problem in task.conflicts():
                yield Problem(("tasks", name, *problem.where), problem.message)

    def facts(self) -> Mapping[str, JsonValue]:
        """mteb's version, which fixes the official tasks' data."""
        return {} if all(isinstance(task, LocalTask) for task in self.tasks.values()) else {"mteb": version("mteb")}

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Compare, and write what was found."""
        training = Training(inputs[self.train].path, context.work / "train")
        held = open_tasks(self.tasks, inputs, context.work)
        rules = Rules(self.near, self.contained, self.near_by)
        similar = None
        if self.model is not None and self.similarity is not None:
            similar = similar_by(inputs[self.model].path, self.similarity, context)
        checked = check(training, held, rules, similar=similar, progress=context.progress)
        write_findings(out, findings(checked, rules, self.similarity))

    def estimate(self, inputs: Mapping[str, Size]) -> Estimate:
        """Reading all texts, at about 5,000 a second; encoding is not counted."""
        texts = sum(size.documents + size.queries for size in inputs.values())
        return Estimate(rows=texts, memory=500 * 2**20, overhead=2.0 + texts / 5000)


def similar_by(model: Path, least: float, context: Context) -> Similar:
    """Looks for texts of at least this cosine by the vectors of a model, kept in the context's embedding store."""
    from embedkit.evaluation.contamination.similar import find_similar
    from embedkit.retrieval.encoder import open_encoder

    encoder = open_encoder(model, context)
    return lambda training, held: find_similar(training, held, encoder, least, context.progress)


def write_findings(out: Path, found: Mapping[str, Any]) -> None:
    """Write contamination.json, and stats.json with its figures."""
    text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
    (out / FILE).write_text(text + "\n", encoding="utf-8", errors="surrogatepass")
    told = {name: found[name] for name in ("summary", "warnings", "looked_for")}
    write_stats(out, {**figures(found), **told, "counts": found["train"]})


def figures(found: Mapping[str, Any]) -> dict[str, Any]:
    """What was found without any text or id: fit to be published."""
    return {
        "train": found["train"],
        "rules": found["rules"],
        "tasks": [
            {
                **{name: task[name] for name in ("name", "queries", "relevant", "documents", "judged_pairs")},
                "found": [{k: v for k, v in row.items() if k != "examples"} for row in task["found"]],
                "leaked_pairs": task["leaked_pairs"]["found"],
                "templated": task["templates"]["templated"],
                "touched": {reason: len(ids) for reason, ids in task["touched"].items()},
                "seen": len(task["touched_query_ids"]),
            }
            for task in found["tasks"]
        ],
    }
