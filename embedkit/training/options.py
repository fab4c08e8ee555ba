"""What every training stage lets a recipe set."""

import abc
import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, JsonValue, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from embedkit.core.estimate import Estimate, Size
from embedkit.core.spec import Execution, ModelRef, PairsRef
from embedkit.core.stage import Stage
from embedkit.training.averaging import Average
from embedkit.training.early_stopping import Evaluation
from embedkit.training.lora import LoRA
from embedkit.training.optimizers import Adafactor, AdamW, AnyOptimizer
from embedkit.training.rates import Pattern
from embedkit.training.schedules import AnySchedule, Linear
from embedkit.training.trackers import Tracker, check_installed


class Training(Stage, abc.ABC):
    """A stage that trains a model on pairs, for a number of steps or of passes over the pairs.

    There is no gradient accumulation: a batch is one step's, of whatever size, and `chunk_size` of `train` lets it be
    larger than memory. Accumulated gradients are those of small batches, whose negatives do not see each other.
    """

    produces: ClassVar[str] = "model"
    together: ClassVar[bool] = True

    model: ModelRef
    pairs: PairsRef
    query_prompt: str | None = None  # name of a prompt that the model declares; null: the model's for queries
    document_prompt: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    steps: PositiveInt | None = None
    epochs: PositiveFloat | None = None  # passes over the pairs, one where neither this nor `steps` is given
    batch_size: Annotated[int, Field(ge=2)] = 32
    learning_rate: PositiveFloat = 5e-5
    learning_rates: Mapping[Pattern, PositiveFloat] = {}  # of parameters by name, see `rates.learning_rates`
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None  # lower layers learn so much more slowly, each
    freeze: tuple[Pattern, ...] = ()  # parameters that do not learn, by name
    lora: LoRA | None = None  # adapters learn in place of the transformer's weights
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1  # share of the steps
    warmup_steps: PositiveInt | None = None  # in place of a share
    schedule: AnySchedule = Linear()
    optimizer: AnyOptimizer = AdamW()
    weight_decay: NonNegativeFloat = 0.01
    max_grad_norm: PositiveFloat = 1.0
    average: Average | None = None  # of the weights over the steps, which becomes the model
    precision: Literal["fp32", "bf16"] = "fp32"  # of matrix products
    frozen_weights: Literal["fp32", "bf16"] = "fp32"  # in memory; weights that learn are always fp32
    # Layers keep no activations and are run again in the backward pass: the same gradients in less memory.
    gradient_checkpointing: Annotated[bool, Execution()] = False
    # auto: flash_attention_2, and so no padding, with precision bf16 on a GPU if it is installed; else the model's own.
    attn_implementation: Annotated[Literal["auto", "eager", "sdpa", "flash_attention_2"], Execution()] = "auto"
    evaluate: Evaluation | None = None  # on held-out queries, while it trains
    trackers: Annotated[tuple[Tracker, ...], Execution()] = ()  # told of each step and score, besides the report
    checkpoint_every: Annotated[PositiveInt | None, Execution()] = None  # steps; by default a quarter, at most 500
    # Each of several processes keeps a shard of the weights and of the optimiser's state: for models too large for one.
    sharding: Annotated[Literal["none", "full", "grad_op"], Execution()] = "none"
    device: Annotated[Literal["auto", "cpu"], Execution()] = "auto"

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("has both steps and epochs; give one of them")
        return self

    @model_validator(mode="after")
    def _optimisation_fits(self) -> Self:
        if self.warmup_steps is not None and "warmup" in self.model_fields_set:
            raise ValueError("has both warmup and warmup_steps; give one of them")
        if self.frozen_weights == "bf16" and (self.precision != "bf16" or not (self.freeze or self.lora)):
            raise ValueError("frozen_weights bf16 needs precision bf16, and lora or freeze")
        adafactor = isinstance(self.optimizer, Adafactor)  # its moments are no tensors in shards
        with_shards = {
            "lora": self.lora,
            "average": self.average,
            "evaluate": self.evaluate,
            "optimizer adafactor": adafactor,
        }
        if self.sharding != "none" and (other := next((name for name, v in with_shards.items() if v), None)):
            raise ValueError(f"sharding and {other} do not go together")
        if self.attn_implementation == "flash_attention_2" and self.precision != "bf16":
            raise ValueError("attn_implementation flash_attention_2 needs precision bf16")
        return self

    def facts(self) -> Mapping[str, JsonValue]:
        """None; but raises `EmbedkitError` if a tracker is not installed."""
        check_installed(self.trackers)
        return {}

    def steps_of(self, rows: int, share: float = 1.0) -> int:
        """How many steps training on `rows` rows takes, of which this share is spent on them."""
        return self.steps or max(1, math.floor((self.epochs or 1.0) * rows / self.batch_size / share))

    def rising(self, steps: int) -> int:
        """Steps, of so many, in which the learning rate rises."""
        return math.ceil(self.warmup * steps) if self.warmup_steps is None else min(self.warmup_steps, steps)

    def scoring(self, inputs: Mapping[str, Size], steps: int) -> float:
        """Floating-point operations of the evaluations during so many steps."""
        if self.evaluate is None:
            return 0.0
        return self.evaluate.flops(inputs[self.model], inputs[self.evaluate.data], steps)

    def save_steps(self, steps: int) -> int:
        """Steps between checkpoints."""
        return self.checkpoint_every or min(500, math.ceil(steps / 4))

    def forecast(
        self,
        inputs: Mapping[str, Size],
        *,
        documents_per_query: float,
        chunk_size: int | None = None,
        chunk_tokens: int | str | None = None,
        of: str | None = None,
        steps: int | None = None,
        batch_size: int | None = None,
    ) -> Estimate:
        """What training takes: three forward passes' worth of arithmetic a step, two where only adapters learn, and one
        more where chunks or layers are run again. Parts that `freeze` names are counted as if they learned.

        `of` names other pairs than `pairs`, `steps` and `batch_size` are theirs.
        """
        size = batch_size or self.batch_size
        model, pairs = inputs[self.model], inputs[of or self.pairs]
        steps = self.steps_of(pairs.pairs) if steps is None else steps
        limit = model.max_tokens or math.inf
        documents = size * documents_per_query
        tokens = size * min(pairs.query_tokens, limit) + documents * min(pairs.document_tokens, limit)
        live = tokens if chunk_size is None else min(tokens, chunk_size * min(pairs.document_tokens, limit))
        live = min(live, chunk_tokens) if isinstance(chunk_tokens, int) else live
        again = chunk_size is not None or isinstance(chunk_tokens, int) or self.gradient_checkpointing
        passes = (3 if self.lora is None else 2) + again
        layers = model.active_parameters / (12 * max(model.dimensions, 1) ** 2)  # of a transformer of that width
        layer = 2 * 68 * live * model.dimensions  # bytes of activations, float32; as much again for gradients of them
        activations = 4 * live * model.dimensions * layers + layer if self.gradient_checkpointing else layer * layers
        return Estimate(
            rows=steps * size,
            tokens=round(steps * tokens),
            steps=steps,
            flops=2.0 * passes * model.active_parameters * steps * tokens,
            memory=round(self._weights(model, layers) + activations),
            overhead=8.0,
            size=model,
        )

    def _weights(self, model: Size, layers: float) -> float:
        """Bytes of the weights, of what learns also those of gradients, two moments and perhaps an average."""
        learns = 16 if self.average is None else 20
        if self.lora is None:
            return learns * model.parameters
        adapters = 18 * self.lora.rank * model.dimensions * layers  # on all linear layers of a transformer
        return (4 if self.frozen_weights == "fp32" else 2) * model.parameters + learns * adapters
