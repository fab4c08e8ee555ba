"""The stage `adore`: the encoder of queries learns against documents whose vectors stay as they are."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import PositiveInt, model_validator

from embedkit.core.errors import ModelError
from embedkit.core.estimate import Estimate, Size, encode_flops
from embedkit.core.spec import Execution
from embedkit.core.stage import Artifact, Context
from embedkit.core.stats import write_stats
from embedkit.losses import AnyLoss, LambdaLoss
from embedkit.retrieval.encoder import open_encoder
from embedkit.retrieval.identity import read_config
from embedkit.retrieval.index import AnyIndex, Exact
from embedkit.retrieval.nearest import Vectors
from embedkit.training.collator import Collator, Feed, own_share
from embedkit.training.distributed import is_main, meet
from embedkit.training.examples import open_examples
from embedkit.training.mixing import Turns
from embedkit.training.objective import Objective
from embedkit.training.options import Training
from embedkit.training.prompts import prompts_of
from embedkit.training.retrieved import Retrieved
from embedkit.training.samplers import Batches
from embedkit.training.summary import training_stats
from embedkit.training.texts import Picks

_SUITED = frozenset({"negatives", "level"})  # what a loss may need: nobody has scored what will be found


class Adore(Training):
    """Train the encoder of queries on what it retrieves at every step, from vectors of documents that never change.

    All documents of `pairs` are embedded once. Each step embeds its queries, finds the `top_k` nearest documents of
    each and learns from these lists by `loss`: what is known to be relevant against the rest; a query's positives that
    were not found are added. The negatives are those that are in the way of this very model, while nothing but queries
    goes through it. The result is a model of two towers, whose document tower is the model that came in: an index made
    with that stays valid. Best after training of both sides, as by loss `star`.
    Reference: https://arxiv.org/abs/2104.08051; in its code, positives are added only where none was found.
    """

    kind: Literal["adore"] = "adore"
    loss: AnyLoss = LambdaLoss()
    top_k: PositiveInt = 200
    index: AnyIndex = Exact()
    # See `train`.
    chunk_size: Annotated[PositiveInt | None, Execution()] = None
    chunk_tokens: Annotated[PositiveInt | Literal["auto"] | None, Execution()] = "auto"
    tile_rows: Annotated[PositiveInt | Literal["auto"] | None, Execution()] = "auto"

    @model_validator(mode="after")
    def _check_loss(self) -> Self:
        if lacking := sorted(self.loss.needs - _SUITED):
            raise ValueError(f"loss {self.loss.kind} needs {lacking[0]}, which documents found in training do not have")
        if self.lora is not None and not self.lora.merge:
            raise ValueError("lora must have merge: true, because an adapter cannot lie beside one tower of two")
        if self.frozen_weights != "fp32":
            raise ValueError("frozen_weights must be fp32, because the tower of documents must stay as it was")
        return self

    def facts(self) -> Mapping[str, Any]:
        """None; but raises `EmbedkitError` if the index, or a tracker, is not installed."""
        self.index.check_installed()
        return super().facts()

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Write the model of two towers, and what training logged."""
        from embedkit.training.bad_batches import readable
        from embedkit.training.held_out import open_held_out
        from embedkit.training.task import Task, in_order, numbered
        from embedkit.training.towers import query_side
        from embedkit.training.trainer import fit, open_model, save_model

        folder = inputs[self.model].path
        if (truncated := read_config(folder).truncate_dim) is not None:
            raise ModelError(f"{folder}: its vectors are cut to {truncated} dimensions; adore learns with whole ones")
        examples = open_examples(inputs[self.pairs].path, context.work / "texts")
        steps = self.steps_of(len(examples.rows))
        encoder = open_encoder(folder, context)
        model = query_side(open_model(folder, self), folder)
        prompts = prompts_of(folder, query=self.query_prompt, document=self.document_prompt, called=self.model)
        batches = Batches(examples, batch_size=self.batch_size, steps=steps, seed=self.seed)
        feed = Feed(examples, batches, Picks(positives=None, negatives=0), prompts)
        turns = Turns([1.0], steps=steps, seed=self.seed)
        collator = QueryCollator([feed], turns, model.preprocess, self.seed, own_share())
        task = Task(
            loss=Objective(
                model,
                self.loss,
                chunk_size=self.chunk_size,
                chunk_tokens=self.chunk_tokens,
                normalize=encoder.similarity == "cosine",
                tile=self.tile_rows,
                retrieve=self._retrieved(encoder.stored("document", examples.documents), context),
            ),
            dataset=numbered(steps),
            batch_size=1,
            batch_sampler=in_order,
            told=lambda rows: readable(collator.texts(rows[0])),
            collator=collator,
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
        write_stats(out, stats | {"loss": self.loss.model_dump(mode="json")})

    def estimate(self, inputs: Mapping[str, Size]) -> Estimate:
        """See `Training.forecast`; and the documents' embedding, the search of each step, and evaluations."""
        model, pairs = inputs[self.model], inputs[self.pairs]
        found = self.forecast(inputs, documents_per_query=0, chunk_size=self.chunk_size, chunk_tokens=self.chunk_tokens)
        tokens = min(pairs.document_tokens, model.max_tokens or float("inf"))
        search = 2.0 * found.rows * pairs.documents * model.dimensions
        flops = found.flops + encode_flops(model, texts=pairs.documents, tokens=tokens) + search
        flops += self.scoring(inputs, found.steps)
        return replace(found, flops=flops, memory=found.memory + 4 * model.parameters)

    def _retrieved(self, vectors: Vectors, context: Context) -> Retrieved:
        """What is built for an index, the main process builds; the others find it."""
        for first in (True, False):
            if is_main() == first:
                searcher = self.index.open(vectors, context.work / "index", context.progress, top_k=self.top_k)
            meet()
        return Retrieved(vectors, searcher, top_k=self.top_k)


class QueryCollator(Collator):
    """Tokenises the queries of a batch alone."""

    def __call__(self, features: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        """See `Collator`."""
        step = features[0]["step"]
        texts = self.texts(step)
        queries = self.preprocess(texts.queries, prompt=self.prompts(step).query, task="query")
        return {**{f"query_{name}": value for name, value in queries.items()}, "label": texts.structure}
