"""The `evaluate` stage: models and tasks in, scores out; each model on each task is an artifact of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from embedkit.core.errors import DataError
from embedkit.core.estimate import Estimate, Size, encode_flops, encode_memory
from embedkit.core.records import read_dataset
from embedkit.core.scores import ModelScores, PerQuery, TaskScores, write_per_query, write_scores
from embedkit.core.spec import ModelRef
from embedkit.core.stage import Artifact, Context, Stage
from embedkit.core.stats import write_stats
from embedkit.evaluation.containment import contained
from embedkit.evaluation.results import TaskResult, read_result, write_result
from embedkit.evaluation.task import AnyTask
from embedkit.measures.ranking import mean_scores, per_query
from embedkit.retrieval.encoder import open_encoder

Metric = Annotated[
    str, Field(pattern=r"^(ndcg|mrr|map|recall|precision)@([1-9][0-9]{0,2}|1000)$")
]  # mteb searches 1000 deep
Metrics = Annotated[tuple[Metric, ...], Field(min_length=1)]
TaskName = Annotated[str, Field(pattern=r"^[^/\s]+$")]
DEFAULT_METRICS = ("ndcg@10", "mrr@10", "recall@100", "map@100")


class EvaluateOne(Stage):
    """One model on one task, by mteb's own retrieval task; a part of `evaluate`."""

    kind: Literal["evaluate_one"] = "evaluate_one"
    produces: ClassVar[str] = "task_scores"

    model: ModelRef
    task: AnyTask
    metrics: Metrics = DEFAULT_METRICS

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Search the corpus with mteb, score the run query by query, and hold the two against each other."""
        split, data = self.task.split, inputs[self.task.data]
        dataset = read_dataset(data.path)
        qrels = dataset.qrels.get(split)
        if not qrels:
            raise DataError(
                f"{self.task.data}: has no {split!r} queries to evaluate on; it has {sorted(dataset.qrels)}"
            )
        stored = open_encoder(inputs[self.model].path, context)
        with contained():
            from embedkit.evaluation.harness import DatasetTask, StoreEncoder, check_agreement, evaluate

            encoder = StoreEncoder(stored, dataset.corpus.full_texts())
            scores, run = evaluate(encoder, DatasetTask(dataset, split, data.key), context.work / "predictions")
        found = per_query(run, qrels, self.metrics)
        means = mean_scores(found)
        metrics, values = {name: means[name] for name in self.metrics}, {query: found[query] for query in qrels}
        check_agreement(metrics, scores)
        write_result(out, TaskResult(values, metrics, scores), run)
        irrelevant = sum(not any(docs.values()) for docs in qrels.values())
        counts = {"queries": len(values), "documents": len(dataset.corpus), "queries_without_positives": irrelevant}
        line = ", ".join(f"{metric} {value:.4f}" for metric, value in metrics.items())
        write_stats(out, {"summary": [f"{line} over {len(values)} queries"], "counts": counts, "warnings": []})

    def estimate(self, inputs: Mapping[str, Size]) -> Estimate:
        """Encoding of documents and queries, as if none were in the embedding store yet."""
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
    metrics: Metrics = DEFAULT_METRICS  # the first is the one a report compares models by

    @field_validator("models", "metrics")
    @classmethod
    def _once(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(values)) < len(values):
            raise ValueError(f"{list(values)} names one twice")
        return values

    def parts(self) -> Mapping[str, Stage]:
        """One stage for each model and task, named `model/task`."""
        return {
            f"{model}/{name}": EvaluateOne(model=model, task=task, metrics=self.metrics)
            for model in self.models
            for name, task in self.tasks.items()
        }

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Gather the parts; models in the order of the recipe, tasks by name."""
        models: dict[str, ModelScores] = {}
        values: dict[tuple[str, str], PerQuery] = {}
        for model in self.models:
            key = inputs[model].key
            results = {task: read_result(inputs[f"{model}/{task}"].path) for task in sorted(self.tasks)}
            models[key] = ModelScores(key, {t: TaskScores(r.metrics, len(r.per_query)) for t, r in results.items()})
            values |= {(key, task): result.per_query for task, result in results.items()}
        write_scores(out, list(models.values()))
        write_per_query(out, values)
        summary = [self._line(task, list(models.values())) for task in sorted(self.tasks)]
        counts = {"models": len(models), "tasks": len(self.tasks)}
        write_stats(out, {"summary": summary, "counts": counts, "warnings": []})

    def estimate(self, inputs: Mapping[str, Size]) -> Estimate:
        """Reading and writing small files: the parts do the work."""
        return Estimate(rows=len(self.models) * len(self.tasks), overhead=0.5)

    def _line(self, task: str, models: list[ModelScores]) -> str:
        metric = self.metrics[0]
        found = [model.tasks[task].metrics[metric] for model in models]
        queries = models[0].tasks[task].queries
        return f"{task}: {metric} {min(found):.4f} to {max(found):.4f}, {len(models)} models, {queries} queries"
