"""What every training stage lets a recipe set."""

import abc
import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from embedkit.core.estimate import Estimate, Size
from embedkit.core.spec import Execution, ModelRef, PairsRef
from embedkit.core.stage import Stage


class Training(Stage, abc.ABC):
    """A stage that trains a model on pairs with AdamW, for a number of steps or of passes over the pairs."""

    produces: ClassVar[str] = "model"

    model: ModelRef
    pairs: PairsRef
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    steps: PositiveInt | None = None
    epochs: PositiveFloat | None = None  # passes over the pairs, one where neither this nor `steps` is given
    batch_size: Annotated[int, Field(ge=2)] = 32
    learning_rate: PositiveFloat = 5e-5
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1  # share of the steps
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: NonNegativeFloat = 0.01
    max_grad_norm: PositiveFloat = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    checkpoint_every: Annotated[PositiveInt | None, Execution()] = None  # steps; by default a quarter, at most 500
    device: Annotated[Literal["auto", "cpu"], Execution()] = "auto"

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("has both steps and epochs; give one of them")
        return self

    def steps_of(self, rows: int, share: float = 1.0) -> int:
        """How many steps training on `rows` rows takes, of which this share is spent on them."""
        return self.steps or max(1, math.floor((self.epochs or 1.0) * rows / self.batch_size / share))

    def warmup_steps(self, steps: int) -> int:
        """Steps in which the learning rate rises."""
        return math.ceil(self.warmup * steps)

    def save_steps(self, steps: int) -> int:
        """Steps between checkpoints."""
        return self.checkpoint_every or min(500, math.ceil(steps / 4))

    def forecast(
        self,
        inputs: Mapping[str, Size],
        *,
        documents_per_query: float,
        chunk_size: int | None = None,
        of: str | None = None,
        steps: int | None = None,
    ) -> Estimate:
        """What training takes: three forward passes' worth of arithmetic a step, four where chunks are run again.

        `of` names other pairs than `pairs`, `steps` is how many steps they get.
        """
        model, pairs = inputs[self.model], inputs[of or self.pairs]
        steps = self.steps_of(pairs.pairs) if steps is None else steps
        limit = model.max_tokens or math.inf
        documents = self.batch_size * documents_per_query
        tokens = self.batch_size * min(pairs.query_tokens, limit) + documents * min(pairs.document_tokens, limit)
        passes = 3 if chunk_size is None else 4
        live = tokens if chunk_size is None else min(tokens, chunk_size * min(pairs.document_tokens, limit))
        layers = model.active_parameters / (12 * max(model.dimensions, 1) ** 2)  # of a transformer of that width
        activations = 2 * 68 * live * model.dimensions * layers  # bytes, float32; as much again for gradients of them
        return Estimate(
            rows=steps * self.batch_size,
            tokens=round(steps * tokens),
            steps=steps,
            flops=2.0 * passes * model.active_parameters * steps * tokens,
            memory=round(16 * model.parameters + activations),
            overhead=8.0,
            size=model,
        )
