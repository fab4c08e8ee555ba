"""The stage `train`: a model and pairs in, a trained model out."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import NonNegativeInt, PositiveInt, model_validator

from embedkit.core.errors import DataError, Problem
from embedkit.core.estimate import Estimate, Size, encode_flops, encode_memory
from embedkit.core.records import read_pairs
from embedkit.core.spec import Execution, ModelRef
from embedkit.core.stage import Artifact, Context, Stage
from embedkit.core.stats import write_stats
from embedkit.losses import AnyLoss, InfoNCE
from embedkit.retrieval.encoder import open_encoder
from embedkit.training.collator import Collator, Feed
from embedkit.training.examples import Examples, examples_of
from embedkit.training.guides import guide_vectors
from embedkit.training.objective import Objective
from embedkit.training.options import Training
from embedkit.training.prompts import Prompts, prompts_of
from embedkit.training.samplers import Batches, Turns, apportion, mixed
from embedkit.training.sources import Source, check_loss


class Train(Training):
    """Train with one of embedkit's losses, or with several: each on pairs of its own.

    With `sources`, `epochs` counts passes over `pairs`, and the steps of the others come on top; `steps` counts all.
    """

    kind: Literal["train"] = "train"
    loss: AnyLoss = InfoNCE()
    positives: PositiveInt | None = 1  # shown per query and batch; null: all
    negatives: NonNegativeInt | None = None  # the query's own, shown per batch; null: all it has
    vary_negatives: bool = False  # show other negatives in each pass, instead of always the first ones
    sources: tuple[Source, ...] = ()  # further pairs, which take turns with `pairs`
    guide: ModelRef | None = None  # embeds what is trained on, for losses that ask another model
    normalize: bool | None = None  # to unit length; null: where the model's similarity is cosine
    # Texts in a forward pass, to save memory: the same gradients but for the draw of dropout.
    chunk_size: Annotated[PositiveInt | None, Execution()] = None
    # Queries whose scores a loss holds at once, to save memory; null: all, auto: as many as are little memory.
    tile_rows: Annotated[PositiveInt | Literal["auto"] | None, Execution()] = "auto"

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_loss(self.loss, negatives=self.negatives)
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
        )
        return own, *self.sources

    def conflicts(self, stages: Mapping[str, Stage]) -> Iterator[Problem]:
        """Losses and pairs that do not go together."""
        for number, source in enumerate(self.all_sources):
            where = ("sources", number - 1) if number else ()
            for problem in source.conflicts(stages):
                yield Problem((*where, *problem.where), problem.message)

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Write the trained model, and what training logged."""
        feeds, turns = self._feeds(inputs, context)

        from embedkit.training.task import Task, in_order, numbered
        from embedkit.training.trainer import fit, open_model, save_model

        model = open_model(inputs[self.model].path, self.device)
        prompts = prompts_of(inputs[self.model].path)
        collator = Collator(feeds, turns, model.preprocess, prompts, self.seed)
        normalize = model.similarity_fn_name == "cosine" if self.normalize is None else self.normalize
        losses = [source.loss for source in self.all_sources]
        task = Task(
            loss=Objective(model, losses, chunk_size=self.chunk_size, normalize=normalize, tile=self.tile_rows),
            dataset=numbered(len(turns)),
            batch_size=1,
            batch_sampler=in_order,
            ids=lambda rows: collator.texts(rows[0]).ids,
            collator=collator,
        )
        history = fit(self, model, task, steps=len(turns), context=context)
        save_model(model, out)
        stats = self._stats(feeds, turns, history, prompts)
        write_stats(out, stats | {"loss": self.loss.model_dump(mode="json"), "normalize": normalize})

    def estimate(self, inputs: Mapping[str, Size]) -> Estimate:
        """See `Training.forecast`; and the guide's embedding of what is trained on."""
        sources = self.all_sources
        shares = [source.share for source in sources]
        counts = apportion(shares, self.steps_of(inputs[self.pairs].pairs, 1 / sum(shares)))
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
            flops=sum(part.flops for part in (*parts, *guides)),
            memory=max(part.memory for part in (*parts, *guides)),
        )

    def _part(self, inputs: Mapping[str, Size], source: Source, steps: int) -> Estimate:
        negatives = max(inputs[source.pairs].documents_per_pair - 1, 0)
        shown = negatives if source.negatives is None else min(negatives, source.negatives)
        return self.forecast(
            inputs,
            documents_per_query=(source.positives or 1) + shown,
            chunk_size=self.chunk_size,
            of=source.pairs,
            steps=steps,
        )

    def _feeds(self, inputs: Mapping[str, Artifact], context: Context) -> tuple[list[Feed], Turns]:
        """What each source gives, and when."""
        sources = self.all_sources
        shares = [source.share for source in sources]
        made = [examples_of(read_pairs(inputs[s.pairs].path), needs=s.loss.needs) for s in sources]
        steps = self.steps_of(len(made[0].rows), 1 / sum(shares))
        turns = Turns(shares, steps=steps, seed=self.seed)
        feeds = []
        for number, (source, examples) in enumerate(zip(sources, made, strict=True)):
            seed = mixed(self.seed, number) if number else self.seed
            batches = Batches(examples, batch_size=self.batch_size, steps=turns.counts[number], seed=seed)
            guide = None
            if "guide" in source.loss.needs:
                if self.guide is None:
                    raise DataError(f"loss {source.loss.kind} needs a guide: the name of a model stage")
                guide = guide_vectors(open_encoder(inputs[self.guide].path, context), examples)
            feeds.append(Feed(examples, batches, source.picks, source.loss.needs, guide))
        return feeds, turns

    def _stats(
        self, feeds: Sequence[Feed], turns: Turns, history: Sequence[Mapping[str, float]], prompts: Prompts
    ) -> dict[str, Any]:
        parts = []
        for number, feed in enumerate(feeds):
            logged = [entry for i, entry in enumerate(history) if turns[i][0] == number]
            rows = turns.counts[number] * self.batch_size
            part = training_stats(feed.examples, logged, rows=rows, prompts=prompts)
            part["counts"]["negatives_per_query"] = _shown(feed)
            if short := feed.batches.short():
                part["warnings"].append(
                    f"{short} of {turns.counts[number]} batches have fewer than {self.batch_size} queries: "
                    "too few queries are without a document in common"
                )
            parts.append(part)
        return parts[0] if len(parts) == 1 else _of_all(parts, self.all_sources, turns, history)


def _guided(guide: Size, pairs: Size) -> Estimate:
    """What embedding the texts of these pairs takes."""
    limit = guide.max_tokens or float("inf")
    documents = round(min(pairs.documents, pairs.pairs * pairs.documents_per_pair))
    return Estimate(
        flops=encode_flops(guide, texts=pairs.pairs, tokens=min(pairs.query_tokens, limit))
        + encode_flops(guide, texts=documents, tokens=min(pairs.document_tokens, limit)),
        memory=encode_memory(guide, texts=0),
    )


def _shown(feed: Feed) -> float:
    """Mean number of its own negatives that a query is shown with."""
    limit, rows = feed.picks.negatives, feed.examples.rows
    found = (len(row.negatives) if limit is None else min(limit, len(row.negatives)) for row in rows)
    return round(sum(found) / len(rows), 3)


def _of_all(
    parts: Sequence[Mapping[str, Any]], sources: Sequence[Source], turns: Turns, history: Sequence[Mapping[str, float]]
) -> dict[str, Any]:
    """The stats of several sources as one, each source by its number: 0 is the stage's own pairs."""
    names = [f"source {number} ({source.loss.kind})" for number, source in enumerate(sources)]
    skipped: Counter[str] = Counter()
    for part in parts:
        skipped.update(part["skipped"])
    return {
        "summary": [f"{name}: {line}" for name, part in zip(names, parts, strict=True) for line in part["summary"]],
        "counts": {name: sum(part["counts"][name] for part in parts) for name in ("steps", "rows", "rows_seen")},
        "skipped": dict(sorted(skipped.items())),
        "warnings": [f"{name}: {line}" for name, part in zip(names, parts, strict=True) for line in part["warnings"]],
        "history": [{**entry, "source": turns[i][0]} for i, entry in enumerate(history)],
        "prompts": parts[0]["prompts"],
        "sources": [
            {"loss": source.loss.model_dump(mode="json"), "share": source.share, "counts": part["counts"]}
            for source, part in zip(sources, parts, strict=True)
        ],
    }


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
