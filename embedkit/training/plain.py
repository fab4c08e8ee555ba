"""The stage `train_st`: training as sentence-transformers does it, to compare with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from embedkit.core.errors import DataError
from embedkit.core.estimate import Estimate, Size
from embedkit.core.records import read_pairs
from embedkit.core.stage import Artifact, Context
from embedkit.core.stats import write_stats
from embedkit.training.collator import prompts_of
from embedkit.training.examples import examples_of
from embedkit.training.options import Training
from embedkit.training.peers import AnyPeer, MultipleNegativesRanking, build_peer
from embedkit.training.stage import training_stats


class TrainST(Training):
    """Train with the plain trainer, sampler and a loss of sentence-transformers, to compare with."""

    kind: Literal["train_st"] = "train_st"
    loss: AnyPeer = MultipleNegativesRanking()

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Write the trained model, and what training logged."""
        examples = examples_of(read_pairs(inputs[self.pairs].path))
        rows = [(row, positive) for row in examples.rows for positive in row.positives]
        if len(rows) < self.batch_size:
            raise DataError(f"pairs: {len(rows)} pairs cannot fill a batch of {self.batch_size}; lower batch_size")
        steps = self.steps_of(len(rows))

        from embedkit.training.trainer import Task, fit, open_model, save_model, text_columns

        model = open_model(inputs[self.model].path, self.device)
        prompts = prompts_of(inputs[self.model].path)
        columns = {
            "query": [examples.queries[row.query] for row, _ in rows],
            "positive": [examples.documents[positive] for _, positive in rows],
        }
        task = Task(
            loss=build_peer(self.loss, model),
            dataset=text_columns(columns),
            batch_size=self.batch_size,
            batch_sampler="no_duplicates",
            ids=lambda numbers: {"query_ids": [rows[i][0].query_id for i in numbers]},
            prompts={"query": prompts.query or "", "positive": prompts.document or ""},
        )
        history = fit(self, model, task, steps=steps, context=context)
        save_model(model, out)
        stats = training_stats(examples, history, rows=steps * self.batch_size, prompts=prompts)
        stats["counts"]["pairs"] = len(rows)
        write_stats(out, stats | {"loss": self.loss.model_dump(mode="json")})

    def estimate(self, inputs: Mapping[str, Size]) -> Estimate:
        """See `Training.forecast`."""
        return self.forecast(inputs, documents_per_query=1.0)
