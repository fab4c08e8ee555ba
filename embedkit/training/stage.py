"""The stage `train`: a model and pairs in, a trained model out."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import JsonValue, NonNegativeInt, PositiveInt, model_validator

from embedkit.core.errors import Problem
from embedkit.core.estimate import Estimate, Size, encode_flops, encode_memory
from embedkit.core.spec import Execution, ModelRef
from embedkit.core.stage import Artifact, Context, Stage
from embedkit.core.stats import write_stats
from embedkit.losses import AnyLoss, InfoNCE
from embedkit.training.batching import AnyBatching, RandomBatches
from embedkit.training.collator import Collator, own_share
from embedkit.training.distributed import is_main
from embedkit.training.feeds import make_first, open_feeds, orders_of
from embedkit.training.memory import AnyMemory, check_memory, check_start
from embedkit.training.mixing import AnyMixing, Shares, apportion
from embedkit.training.objective import Objective
from embedkit.training.options import Training
from embedkit.training.parts import Part, part_conflicts
from embedkit.training.sources import Source, check_loss, check_negatives
from embedkit.training.summary import stats_of_sources


class Train(Training):
    """Train with one of embedkit's losses, or with several: each on pairs of its own.

    With `sources`, `epochs` counts passes over `pairs`, and the steps of the others come on top; `steps` counts all.
    """

    kind: Literal["train"] = "train"
    loss: AnyLoss = InfoNCE()
    positives: PositiveInt | None = 1  # shown per query and batch; null: all
    negatives: NonNegativeInt | None = None  # the query's own, shown per batch; null: all it has
    vary_negatives: bool = False  # show other negatives in each pass, instead of always the first ones
    random_negatives: NonNegativeInt = 0  # more of them, drawn from the whole corpus for each query and pass (STAR)
    memory: AnyMemory | None = None  # documents of earlier batches, as further negatives
    sources: tuple[Source, ...] = ()  # further pairs, which take turns with `pairs`
    mixing: AnyMixing = Shares()  # of the steps, among `pairs` and `sources`
    group: str | None = None  # of `pairs`, where mixing has groups
    batches: AnyBatching = RandomBatches()  # of `pairs`: which rows go together
    part: Part | None = None  # of a longer training; null: a training of its own
    guide: ModelRef | None = None  # embeds what is trained on, for losses that ask another model
    normalize: bool | None = None  # to unit length; null: where the model's similarity is cosine
    # Texts in a forward pass, to save memory: the same gradients but for the draw of dropout.
    chunk_size: Annotated[PositiveInt | None, Execution()] = None
    # Tokens in a forward pass, to save memory as well; auto: texts of like lengths go together where that saves time.
    chunk_tokens: Annotated[PositiveInt | Literal["auto"] | None, Execution()] = "auto"
    # Queries whose scores a loss holds at once, to save memory; null: all, auto: as many as are little memory.
    tile_rows: Annotated[PositiveInt | Literal["auto"] | None, Execution()] = "auto"

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_negatives(self.negatives, vary=self.vary_negatives)
        check_loss(self.loss, negatives=self.negatives, random_negatives=self.random_negatives)
        if self.memory is not None:
            check_memory([source.loss for source in self.all_sources])
            if self.memory.kind == "momentum" and self.sharding != "none":
                raise ValueError("memory momentum keeps a copy of all weights, so it needs sharding: none")
        self.mixing.check(self.all_sources)
        if self.part is not None and self.sharding != "none":
            raise ValueError("a part keeps the optimiser's state whole, so it needs sharding: none")
        for source in self.all_sources:
            source.batches.check(source.batch_size or self.batch_size)
        guided = [source.loss.kind for source in self.all_sources if "guide" in source.loss.needs]
        if guided and self.guide is None:
            raise ValueError(f"loss {guided[0]} needs a guide: the name of a model stage")
        if self.guide is not None and not guided:
            raise ValueError(f"has a guide, {self.guide!r}, that no loss uses")
        return self

    @property
    def all_sources(self) -> tuple[Source, ...]:
        """The stage's own pairs and loss, then `sources`."""
        own = Source.model_construct(
            pairs=self.pairs,
            loss=self.loss,
            positives=self.positives,
            negatives=self.negatives,
            vary_negatives=self.vary_negatives,
            random_negatives=self.random_negatives,
            group=self.group,
            batches=self.batches,
            query_prompt=self.query_prompt,
            document_prompt=self.document_prompt,
        )
        return own, *self.sources

    def conflicts(self, stages: Mapping[str, Stage]) -> Iterator[Problem]:
        """Losses and pairs that do not go together."""
        for number, source in enumerate(self.all_sources):
            where = ("sources", number - 1) if number else ()
            for problem in source.conflicts(stages):
                yield Problem((*where, *problem.where), problem.message)
        if self.part is not None:
            yield from part_conflicts(self, self.part, stages)

    def facts(self) -> Mapping[str, JsonValue]:
        """None; but raises `EmbedkitError` if what clusters queries, or a tracker, is not installed."""
        for source in self.all_sources:
            source.batches.check_installed()
        return super().facts()

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Write the trained model, and what training logged."""
        from embedkit.training.bad_batches import readable
        from embedkit.training.continuation import go_on, keep_state
        from embedkit.training.held_out import open_held_out
        from embedkit.training.task import Task, in_order, numbered
        from embedkit.training.tokenising import tokenising
        from embedkit.training.trainer import fit, open_model, save_model

        orders = orders_of(self, inputs, context)
        feeds, turns = open_feeds(self, inputs, context, orders)
        check_start(self.memory, len(turns))
        begin, until = (0, len(turns)) if self.part is None else self.part.own_span(len(turns))
        model = open_model(inputs[self.model].path, self)
        if orders is not None:
            make_first(feeds, turns, begin)
            orders.follow(model, "bfloat16" if self.precision == "bf16" else "float32")
        if self.part is not None and self.part.after is not None:
            go_on(inputs[self.part.after].path, context.work)
        collator = Collator(feeds, turns, tokenising(model), self.seed, own_share())
        normalize = model.similarity_fn_name == "cosine" if self.normalize is None else self.normalize
        losses = [source.loss for source in self.all_sources]
        task = Task(
            loss=Objective(
                model,
                losses,
                chunk_size=self.chunk_size,
                chunk_tokens=self.chunk_tokens,
                normalize=normalize,
                tile=self.tile_rows,
                memory=self.memory,
            ),
            dataset=numbered(len(turns)),
            batch_size=1,
            batch_sampler=in_order,
            told=lambda rows: readable(collator.texts(rows[0])),
            collator=collator,
        )
        held_out = open_held_out(self, inputs, context, feeds[0].prompts)
        trained = fit(self, model, task, steps=len(turns), context=context, held_out=held_out, until=until)
        # In every process: to see batches again, those of a training that was over, all ask for clusters together.
        stats = trained.added_to(stats_of_sources(self.all_sources, feeds, turns, trained.history, begin=begin))
        if not is_main():
            return
        save_model(model, out)
        if until < len(turns):
            keep_state(context.work, out)
        if self.part is not None:
            stats["rounds"] = self.part.begins(len(turns))
        if held_out is not None:
            stats["warnings"] += held_out.warnings(query for feed in feeds for query in feed.examples.asked())
        write_stats(out, stats | {"loss": self.loss.model_dump(mode="json"), "normalize": normalize})

    def estimate(self, inputs: Mapping[str, Size]) -> Estimate:
        """See `Training.forecast`; and the guide's embedding of what is trained on, and evaluations."""
        sources, model = self.all_sources, inputs[self.model]
        shares = self.mixing.parts(sources, [inputs[source.pairs].pairs for source in sources])
        steps = self.steps_of(inputs[self.pairs].pairs, shares[0])
        begin, end = (0, steps) if self.part is None else self.part.span(steps)
        counts = apportion(shares, end - begin)
        parts = [self._part(inputs, source, steps) for source, steps in zip(sources, counts, strict=True)]
        guides = [
            _guided(inputs[self.guide], inputs[source.pairs])
            for source in sources
            if self.guide is not None and "guide" in source.loss.needs
        ]
        return replace(
            parts[0],
            rows=sum(part.rows for part in parts),
            tokens=sum(part.tokens for part in parts),
            steps=sum(counts),
            flops=sum(part.flops for part in (*parts, *guides)) + self.scoring(inputs, sum(counts)),
            memory=max(part.memory for part in (*parts, *guides)) + (self.memory.bytes(model) if self.memory else 0),
        )

    def _part(self, inputs: Mapping[str, Size], source: Source, steps: int) -> Estimate:
        negatives = max(inputs[source.pairs].documents_per_pair - 1, 0)
        shown = negatives if source.negatives is None else min(negatives, source.negatives)
        part = self.forecast(
            inputs,
            documents_per_query=(source.positives or 1) + shown + source.random_negatives,
            chunk_size=self.chunk_size,
            chunk_tokens=self.chunk_tokens,
            of=source.pairs,
            steps=steps,
            batch_size=source.batch_size,
        )
        pairs, model = inputs[source.pairs], inputs[self.model]
        texts = source.batches.embedded(pairs.pairs, part.rows)
        tokens = min(pairs.query_tokens, model.max_tokens or float("inf"))
        return replace(part, flops=part.flops + encode_flops(model, texts=texts, tokens=tokens))


def _guided(guide: Size, pairs: Size) -> Estimate:
    """What embedding the texts of these pairs takes."""
    limit = guide.max_tokens or float("inf")
    documents = round(min(pairs.documents, pairs.pairs * pairs.documents_per_pair))
    return Estimate(
        flops=encode_flops(guide, texts=pairs.pairs, tokens=min(pairs.query_tokens, limit))
        + encode_flops(guide, texts=documents, tokens=min(pairs.document_tokens, limit)),
        memory=encode_memory(guide, texts=0),
    )
