"""Stages that assemble models: `backbone`, `towers` and `static`."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import NonNegativeInt, PositiveInt

from embedkit.core.errors import ModelError
from embedkit.core.estimate import Estimate, Size, encode_flops
from embedkit.core.spec import ModelRef
from embedkit.core.stage import Artifact, Context, Stage
from embedkit.core.stats import write_stats
from embedkit.models.pooling import AnyPooling, PlainPooling
from embedkit.models.static import AnyVectors, DistilledVectors, RandomVectors, static_model
from embedkit.retrieval.model_folder import describe, positions, told


class Backbone(Stage):
    """A transformer, encoder or decoder, as a text-embedding model: its attention, layers, pooling and projection.

    New weights are drawn by `seed`, and mean nothing before they are trained.
    """

    kind: Literal["backbone"] = "backbone"
    produces: ClassVar[str] = "model"
    model: ModelRef  # a transformer, by the stage `pretrained`
    attention: Literal["causal", "bidirectional"] | None = None  # null: as it is
    layers: PositiveInt | None = None  # the first ones; null: all
    pooling: AnyPooling = PlainPooling(kind="mean")
    projection: tuple[PositiveInt, ...] = ()  # widths of linear layers after the pooling
    normalize: bool = True  # to unit length, for cosine similarity
    max_length: PositiveInt | None = None  # tokens; null: the model's own limit
    end_token: bool = False  # every text ends with the end token, which is what `lasttoken` should pool
    seed: NonNegativeInt = 0

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Take the transformer apart and put the model together."""
        from embedkit.models.assembly import open_transformer, with_head, write
        from embedkit.models.tokens import has_end, runs_into, set_end
        from embedkit.retrieval.loading import load_model

        base = open_transformer(inputs[self.model].path, layers=self.layers, attention=self.attention)
        head = {"projection": self.projection, "normalize": self.normalize, "seed": self.seed}
        model = with_head(base, self.pooling, **head)  # type: ignore[arg-type]
        if self.max_length is not None:
            limit = positions(inputs[self.model].path)
            if limit and self.max_length > limit:
                raise ModelError(f"max_length is {self.max_length}; the model has positions for {limit} tokens")
            model.max_seq_length = self.max_length
        if self.end_token:
            set_end(model.tokenizer)
        write(model, out)
        if self.end_token and not has_end(load_model(out, device="cpu").tokenizer):
            raise ModelError("end_token: the model's tokenizer does not keep what is added to it; set it in its files")
        card = describe(out)
        warnings = [
            f"{name} prompt {text!r}: its end becomes one token with the beginning of texts, which is then not pooled "
            "either; end the prompt without a space, or set include_prompt: true"
            for name, text in card.prompts.items()
            if not self.pooling.include_prompt and text and runs_into(text, model.tokenizer)
        ]
        write_stats(out, told(card) | {"warnings": warnings})

    def estimate(self, inputs: Mapping[str, Size]) -> Estimate:
        """The base's size, of which the layers left out take their share; a head is little beside it."""
        base = inputs[self.model]
        active = base.active_parameters
        if self.layers is not None:
            active = min(active, 12 * self.layers * base.dimensions**2)  # about, of a transformer of that width
        size = replace(
            base,
            parameters=base.parameters - base.active_parameters + active,
            active_parameters=active,
            dimensions=self.projection[-1] if self.projection else base.dimensions,
            max_tokens=self.max_length or base.max_tokens,
        )
        return Estimate(memory=8 * base.parameters, overhead=8.0, size=size)


class Towers(Stage):
    """An asymmetric model: one for queries and one for documents, which may be of other sizes and kinds.

    Vectors of documents depend on the document model alone: those it made before are found again.
    """

    kind: Literal["towers"] = "towers"
    produces: ClassVar[str] = "model"
    query: ModelRef
    document: ModelRef
    tied: bool = False  # one transformer for both, which must be the same in both models

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Write a model of both."""
        from embedkit.models.assembly import towers, write

        write(towers(inputs[self.query].path, inputs[self.document].path, tied=self.tied), out)
        write_stats(out, told(describe(out)))

    def estimate(self, inputs: Mapping[str, Size]) -> Estimate:
        """The document model's size, with the query model's weights beside it."""
        query, document = inputs[self.query], inputs[self.document]
        own = 0 if self.tied else query.parameters
        size = replace(document, parameters=document.parameters + own)
        return Estimate(memory=8 * size.parameters, overhead=8.0, size=size)


class Static(Stage):
    """Static embeddings: the mean of a vector for each token, of the tokenizer of a model."""

    kind: Literal["static"] = "static"
    produces: ClassVar[str] = "model"
    model: ModelRef  # whose tokenizer it has, and of which distilled vectors come
    dimensions: PositiveInt = 256
    vectors: AnyVectors = DistilledVectors()

    def run(self, inputs: Mapping[str, Artifact], out: Path, context: Context) -> None:
        """Write the model."""
        from embedkit.models.assembly import open_transformer, write

        model = open_transformer(inputs[self.model].path, layers=None, attention=None)
        vectors = self.vectors.make(model, self.dimensions, context.progress)
        write(static_model(model, vectors), out)
        write_stats(out, told(describe(out)))

    def estimate(self, inputs: Mapping[str, Size]) -> Estimate:
        """Its table, as far as the size of the vocabulary is known from the base's tables."""
        base = inputs[self.model]
        tokens = (base.parameters - base.active_parameters) // max(base.dimensions, 1)
        flops = 0.0 if isinstance(self.vectors, RandomVectors) else encode_flops(base, texts=tokens, tokens=3)
        size = Size(parameters=tokens * self.dimensions, active_parameters=0, dimensions=self.dimensions)
        return Estimate(flops=flops, memory=4 * (base.parameters + 2 * size.parameters), overhead=8.0, size=size)
