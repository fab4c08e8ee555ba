"""The stage `train`: a model and pairs in, a trained model out."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import NonNegativeInt, PositiveInt, model_validator

from embedkit.core.errors import Problem
from embedkit.core.estimate import Estimate, Size
from embedkit.core.records import read_pairs
from embedkit.core.spec import Execution
from embedkit.core.stage import Artifact, Context, Stage
from embedkit.core.stats import write_stats
from embedkit.losses import AnyLoss, InfoNCE
from embedkit.training.collator import Collator, Picks, Prompts, prompts_of
from embedkit.training.examples import Examples, examples_of
from embedkit.training.objective import Objective
from embedkit.training.options import Training
from embedkit.training.samplers import Batches


class Train(Training):
    """Train with one of embedkit's losses."""

    kind: Literal["train"] = "train"
    loss: AnyLoss = InfoNCE()
    positives: PositiveInt | None = 1  # shown per query and batch; null: all
    negatives: NonNegativeInt | None = None  # the query's own, shown per batch; null: all it has
    vary_negatives: bool = False  # show other negatives in each pass, instead of always the first ones
    normalize: bool | None = None  # to unit length; null: where the model's similarity is cosine
    # Texts in a forward pass, to save memory: the same gradients but for the draw of dropout.
    chunk_size: Annotated[PositiveInt | None, Execution()] = None

    @model_validator(mode="after")
    def _negatives_for_the_teacher(self) -> Self:
        if "negatives" in self.loss.needs and self.negatives == 0:
            raise ValueError(f"loss {self.loss.kind} compares each query's own documents, so negatives must not be 0")
        return self

    def conflicts(self, stages: Mapping[str, Stage]) -> Iterator[Problem]:
        """A loss that learns from a teacher, and pairs that no teacher has seen."""
        pairs = stages.get(self.pairs)
        if "targets" in self.loss.needs and pairs is not None and pairs.kind != "teach":
            yield Problem(
                ("pairs",), f"loss {self.loss.kind} needs teacher scores, but {self.pairs!r} is no `teach` stage"
            )

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Write the trained model, and what training logged."""
        needs = self.loss.needs
        examples = examples_of(read_pairs(inputs[self.pairs].path), needs=needs)
        steps = self.steps_of(len(examples.rows))
        batches = Batches(examples, batch_size=self.batch_size, steps=steps, seed=self.seed)

        from embedkit.training.trainer import Task, fit, in_order, numbered, open_model, save_model

        model = open_model(inputs[self.model].path, self.device)
        picks = Picks(self.positives, self.negatives, self.vary_negatives)
        prompts = prompts_of(inputs[self.model].path)
        targets = "targets" in needs
        collator = Collator(examples, batches, picks, model.preprocess, prompts, targets=targets)
        normalize = model.similarity_fn_name == "cosine" if self.normalize is None else self.normalize
        objective = Objective(model, self.loss, chunk_size=self.chunk_size, normalize=normalize)
        task = Task(
            loss=objective,
            dataset=numbered(steps),
            batch_size=1,
            batch_sampler=in_order,
            ids=lambda rows: collator.texts(rows[0]).ids,
            collator=collator,
        )
        history = fit(self, model, task, steps=steps, context=context)
        save_model(model, out)
        stats = training_stats(examples, history, rows=steps * self.batch_size, prompts=prompts)
        stats["counts"]["negatives_per_query"] = self._shown(examples)
        if short := batches.short():
            stats["warnings"].append(
                f"{short} of {steps} batches have fewer than {self.batch_size} queries: "
                "too few queries are without a document in common"
            )
        write_stats(out, stats | {"loss": self.loss.model_dump(mode="json"), "normalize": normalize})

    def estimate(self, inputs: Mapping[str, Size]) -> Estimate:
        """See `Training.forecast`."""
        negatives = inputs[self.pairs].documents_per_pair - 1
        shown = negatives if self.negatives is None else min(negatives, self.negatives)
        return self.forecast(
            inputs, documents_per_query=(self.positives or 1) + max(shown, 0), chunk_size=self.chunk_size
        )

    def _shown(self, examples: Examples) -> float:
        """Mean number of its own negatives that a query is shown with."""
        limit = max(map(len, (row.negatives for row in examples.rows))) if self.negatives is None else self.negatives
        return round(sum(min(limit, len(row.negatives)) for row in examples.rows) / len(examples.rows), 3)


def training_stats(
    examples: Examples, history: Sequence[Mapping[str, float]], *, rows: int, prompts: Prompts
) -> dict[str, Any]:
    """What the report shows of a training: the loss at every step, and what was trained on."""
    losses = [entry["loss"] for entry in history]
    edge = max(1, len(losses) // 10)
    first, last = sum(losses[:edge]) / edge, sum(losses[-edge:]) / edge
    return {
        "summary": [f"{len(history)} steps over {rows} of {len(examples.rows)} rows, loss {first:.4f} to {last:.4f}"],
        "counts": {"steps": len(history), "rows": len(examples.rows), "rows_seen": rows},
        "skipped": dict(examples.skipped),
        "warnings": [f"left out {count} {what}" for what, count in examples.skipped.items()],
        "history": [dict(entry) for entry in history],
        "prompts": prompts._asdict(),
    }
