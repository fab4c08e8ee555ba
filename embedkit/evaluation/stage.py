"""The `evaluate` stage: models and tasks in, scores out; each model on each task is an artifact of its own."""

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, JsonValue, field_validator

from embedkit.core.errors import ModelError, Problem, did_you_mean
from embedkit.core.estimate import Estimate, Size, encode_flops, encode_memory
from embedkit.core.memory import release
from embedkit.core.spec import ModelRef
from embedkit.core.stage import Artifact, Context, Stage
from embedkit.core.stats import write_stats
from embedkit.evaluation.containment import contained
from embedkit.evaluation.gathering import Gathered
from embedkit.evaluation.prompts import check_declared
from embedkit.evaluation.results import TaskResult, read_result, write_result
from embedkit.evaluation.tasks import AnyTask, LocalTask
from embedkit.retrieval.encoder import open_encoder
from embedkit.retrieval.identity import read_config

Metric = Annotated[
    str, Field(pattern=r"^(ndcg|mrr|map|recall|precision)@([1-9][0-9]{0,2}|1000)$")
]  # mteb searches 1000 deep
Metrics = Annotated[tuple[Metric, ...], Field(min_length=1)]
TaskName = Annotated[str, Field(pattern=r"^[^/\s]+$")]
DEFAULT_METRICS = ("ndcg@10", "mrr@10", "recall@100", "map@100")


class EvaluateOne(Stage):
    """One model on one task, by mteb's own task; a part of `evaluate`. Its metrics are computed later, from what it
    keeps, so that another metric needs no other search."""

    kind: Literal["evaluate_one"] = "evaluate_one"
    produces: ClassVar[str] = "task_scores"
    version: ClassVar[int] = 2

    model: ModelRef
    task: AnyTask

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Run mteb's task on the model, and keep what its scores are made of."""
        from embedkit.evaluation.separation import measure, write_separation

        folder = inputs[self.model].path
        try:
            encoder, named = open_encoder(folder, context), read_config(folder).named_prompts
        except ModelError as error:  # of the model by its name: nobody knows an artifact's folder
            raise ModelError(*(text.replace(str(folder), self.model) for text in error.problems)) from error
        if not self.task.undeclared_prompts:
            check_declared(self.task.prompts, read_config(folder), self.model)
        with contained():
            from embedkit.evaluation.harness import evaluate
            from embedkit.evaluation.model import StoredModel

            model = StoredModel(encoder, named, self.task.prompts, context.progress)
            result = evaluate(model, self.task.open(inputs, context.work), context.work)
        write_result(out, result)
        write_stats(out, _stats(result))
        lying = _geometry(model.searches, result)
        del model, result  # what was found is on disk, and is read back column by column
        release()
        if figures := measure(out):
            write_separation(out, {name: {**found, "geometry": lying[name]} for name, found in figures.items()})

    def facts(self) -> Mapping[str, JsonValue]:
        """mteb's version, which fixes the official tasks' data and how they score."""
        return {"mteb": version("mteb")}

    def estimate(self, inputs: Mapping[str, Size]) -> Estimate:
        """Encoding of documents and queries, as if none were in the embedding store yet."""
        if not isinstance(self.task, LocalTask):
            return Estimate(overhead=5.0)  # what other tasks hold is known when they are opened
        model, data = inputs[self.model], inputs[self.task.data]
        queries, limit = data.held_out.get(self.task.split, 0), model.max_tokens or float("inf")
        tokens = data.documents * min(data.document_tokens, limit) + queries * min(data.query_tokens, limit)
        texts = data.documents + queries
        return Estimate(
            rows=texts,
            tokens=int(tokens),
            flops=encode_flops(model, texts=1, tokens=tokens) + 2.0 * queries * data.documents * model.dimensions,
            memory=encode_memory(model, texts=texts) + 4 * queries * min(data.documents, 50_000),
            overhead=2.0 + 2e-3 * queries,
        )


class Evaluate(Stage):
    """The scores of models on tasks, as means and query by query."""

    kind: Literal["evaluate"] = "evaluate"
    produces: ClassVar[str] = "scores"

    models: Annotated[tuple[ModelRef, ...], Field(min_length=1)]
    tasks: Annotated[Mapping[TaskName, AnyTask], Field(min_length=1)]
    metrics: Metrics = DEFAULT_METRICS  # of tasks that rank; by the first, a report compares models on local tasks
    groups: Mapping[TaskName, TaskName] = Field(default_factory=dict)  # task -> what it is a part of: in means, the
    # tasks of a group count as one, as the twelve of mteb's CQADupstackRetrieval do. No part's key depends on it
    notes: tuple[str, ...] = ()  # told as warnings, e.g. which tasks of a suite's benchmark are left out

    @field_validator("models", "metrics")
    @classmethod
    def _once(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(values)) < len(values):
            raise ValueError(f"{list(values)} names one twice")
        return values

    def conflicts(self, stages: Mapping[str, Stage]) -> Iterator[Problem]:
        """Official tasks that mteb does not have, and groups of tasks that are not there."""
        for name, task in self.tasks.items():
            for problem in task.conflicts():
                yield Problem(("tasks", name, *problem.where), problem.message)
        for name in sorted(self.groups.keys() - self.tasks.keys()):
            yield Problem(("groups", name), f"there is no such task{did_you_mean(name, self.tasks)}")

    def parts(self) -> Mapping[str, Stage]:
        """One stage for each model and task, named `model/task`."""
        return {
            f"{model}/{name}": EvaluateOne(model=model, task=task)
            for model in self.models
            for name, task in self.tasks.items()
        }

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Compute the metrics of the parts; models in the order of the recipe, tasks by name."""
        gathered = Gathered()
        for model in self.models:
            for task in sorted(self.tasks):
                result = read_result(inputs[f"{model}/{task}"].path)
                official = self.tasks[task].kind != "local"
                group = self.groups.get(task, "")
                gathered.add(inputs[model].key, task, result, self.metrics, official=official, group=group)
        gathered.write(out)
        summary = [gathered.line(task) for task in gathered.tasks]
        counts = {"models": len(self.models), "tasks": len(gathered.tasks)}
        write_stats(out, {"summary": summary, "counts": counts, "warnings": list(self.notes)})

    def estimate(self, inputs: Mapping[str, Size]) -> Estimate:
        """Reading and writing small files: the parts do the work."""
        return Estimate(rows=len(self.models) * len(self.tasks), overhead=0.5)


def _geometry(searches: Mapping[tuple[str, str], Any], result: TaskResult) -> dict[str, Any]:
    """How the vectors of each part that was searched lie."""
    from embedkit.evaluation.separation import geometry

    found = {}
    for part in result.parts:
        if (search := searches.get((part.subset, part.split))) is not None:
            *vectors, codes = search.vectors(part.qrels)
            if len(codes):
                found[part.name] = geometry(*vectors, codes=codes)
    return found


def _stats(result: TaskResult) -> dict[str, Any]:
    parts = result.parts
    counts = {
        "queries": sum(len(part.qrels) or len(part.units) for part in parts),
        "items": sum(len(part.items.ids) for part in parts if part.items),
        "queries_without_positives": sum(not any(docs.values()) for part in parts for docs in part.qrels.values()),
    }
    line = ", ".join(f"{part.name + ' ' if part.name else ''}{part.mteb['main_score']:.4f}" for part in parts)
    return {"summary": [f"{result.main} {line}"], "counts": counts, "warnings": []}
