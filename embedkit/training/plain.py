"""The stage `train_st`: training as sentence-transformers does it, with any of its losses."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import NonNegativeInt, model_validator

from embedkit.core.errors import DataError, ModelError, Problem
from embedkit.core.estimate import Estimate, Size, encode_flops
from embedkit.core.pairs import read_pairs
from embedkit.core.spec import Reference, marked
from embedkit.core.stage import Artifact, Context, Stage
from embedkit.core.stats import write_stats
from embedkit.training.distributed import is_main, world_size
from embedkit.training.examples import Examples, open_examples
from embedkit.training.options import Training
from embedkit.training.peers import AnyPeer, MultipleNegativesRankingLoss, build_peer
from embedkit.training.peers.table import Table, check_size, table_of, texts_of
from embedkit.training.prompts import prompts_of
from embedkit.training.summary import training_stats

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn


class TrainST(Training):
    """Train with the plain trainer, sampler and a loss of sentence-transformers, to compare with or to build on."""

    kind: Literal["train_st"] = "train_st"
    loss: AnyPeer = MultipleNegativesRankingLoss()
    negatives: NonNegativeInt = 0  # the query's own, in each row; of losses that learn from pairs, at most so many

    @model_validator(mode="after")
    def _as_the_loss_needs(self) -> Self:
        name, data = self.loss.name, self.loss.data
        if data.sampler == "group_by_label" and (self.batch_size < 4 or self.batch_size % 2):
            raise ValueError(
                f"loss {name} takes two texts of a class at a time, so batch_size must be even and above 3"
            )
        if self.negatives < data.fewest:
            raise ValueError(f"loss {name} learns from negatives, so negatives must be at least {data.fewest}")
        if data.most is not None and self.negatives > data.most:
            raise ValueError(f"loss {name} has a place for {data.most} negatives, found {self.negatives}")
        return self

    def conflicts(self, stages: Mapping[str, Stage]) -> Iterator[Problem]:
        """A loss that needs what the pairs cannot have."""
        pairs = stages.get(self.pairs)
        if pairs is None:
            return
        if self.loss.data.scored and not pairs.scored:
            what = f"loss {self.loss.name} needs target scores, but {self.pairs!r} has none"
            yield Problem(("pairs",), f"{what}; a `teach` stage makes them")
        if pairs.kind == "mine" and self.negatives > (kept := getattr(pairs, "negatives", self.negatives)):
            yield Problem(("negatives",), f"found {self.negatives}, but {self.pairs!r} keeps {kept} for each query")

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Write the trained model, and what training logged."""
        examples, table = self._read(inputs[self.pairs].path, context.work / "texts")
        steps = self.steps_of(len(table))

        from embedkit.training.held_out import open_held_out
        from embedkit.training.task import Task, text_columns
        from embedkit.training.trainer import fit, open_model, save_model

        model = open_model(inputs[self.model].path, self)
        folder = inputs[self.model].path
        prompts = prompts_of(folder, query=self.query_prompt, document=self.document_prompt, called=self.model)
        labels = self._labels(table, model, inputs, context)
        task = Task(
            loss=self._loss(model, inputs),
            dataset=text_columns(table.columns | ({} if labels is None else {"label": labels})),
            batch_size=self._rows_each(),
            batch_sampler=self.loss.data.sampler,
            told=lambda numbers: {"rows": [table.row(i) for i in numbers]},
            prompts={name: (prompts.query if name == "query" else prompts.document) or "" for name in table.columns},
        )
        held_out = open_held_out(self, inputs, context, prompts)
        trained = fit(self, model, task, steps=steps, context=context, held_out=held_out)
        if not is_main():
            return
        save_model(model, out)
        rows = len(trained.history) * self.batch_size
        stats = trained.added_to(training_stats(examples, trained.history, rows=rows, prompts=prompts))
        if held_out is not None:
            stats["warnings"] += held_out.warnings(examples.asked())
        stats["counts"]["pairs"] = len(table)
        write_stats(out, stats | {"loss": self.loss.model_dump(mode="json")})

    def estimate(self, inputs: Mapping[str, Size]) -> Estimate:
        """See `Training.forecast`; other models of the loss embed what is trained on as well."""
        pairs, data = inputs[self.pairs], self.loss.data
        shown = 1.0 + self.negatives
        if data.rows == "pairs":
            flat = replace(pairs, pairs=round(pairs.pairs * min(pairs.documents_per_pair, shown)))
            inputs, shown = {**inputs, self.pairs: flat}, 1.0
        found = self.forecast(inputs, documents_per_query=shown)
        others = [inputs[name] for _, name, _ in marked(self.loss, Reference)]
        tokens = found.tokens / max(found.rows, 1)
        return replace(
            found,
            flops=found.flops
            + self.scoring(inputs, found.steps)
            + sum(encode_flops(model, texts=found.rows, tokens=tokens) for model in others),
            memory=found.memory + sum(4 * model.parameters for model in others),
        )

    def _rows_each(self) -> int:
        """Rows of each process's batch: each draws its own, as sentence-transformers has it."""
        rows, rest = divmod(self.batch_size, world_size())
        if rest or rows < 2:
            raise DataError(
                f"batch_size is {self.batch_size}, which {world_size()} processes cannot divide into equal batches of "
                "at least 2 rows; change either"
            )
        return rows

    def _read(self, folder: Path, work: Path) -> tuple[Examples, Table]:
        data = self.loss.data
        examples = open_examples(folder, work, needs=frozenset({"targets"} if data.scored else ()))
        table = texts_of(read_pairs(folder)) if data.rows == "texts" else table_of(examples, data, self.negatives)
        check_size(table, data, self.batch_size)
        return replace(examples, skipped={**examples.skipped, **table.skipped}), table

    def _loss(self, model: "SentenceTransformer", inputs: Mapping[str, Artifact]) -> "nn.Module":
        """The loss, its own weights drawn by this stage's seed."""
        import torch

        from embedkit.retrieval.loading import load_model
        from embedkit.training.isolation import randomness_restored

        def frozen(name: str) -> "SentenceTransformer":
            found = load_model(inputs[name].path, device=str(model.device)).float()  # whatever it is stored in
            return found.eval().requires_grad_(False)

        with randomness_restored():
            torch.manual_seed(self.seed)
            return build_peer(self.loss, model, frozen)

    def _labels(
        self, table: Table, model: "SentenceTransformer", inputs: Mapping[str, Artifact], context: Context
    ) -> Any:
        """One for each row; None for a loss that has none."""
        data = self.loss.data
        if data.teacher is None:
            return table.labels
        import numpy as np

        from embedkit.retrieval.encoder import open_encoder

        encoder = open_encoder(inputs[data.teacher].path, context)
        encode = {name: encoder.queries if name == "query" else encoder.documents for name in table.columns}
        vectors = np.stack([encode[name](texts) for name, texts in table.columns.items()], axis=1)  # (rows, columns, D)
        expected, found = data.dimensions or model.get_embedding_dimension(), vectors.shape[-1]
        if found != expected:
            raise ModelError(
                f"loss {self.loss.name}: teacher {data.teacher!r} has {found} dimensions, expected {expected}; "
                f"set projection_dim to {found}"
            )
        return vectors
