"""How the learning rate changes over a training: each schedule in the terms of transformers' own."""

import math
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field

from embedkit.core.errors import StageError
from embedkit.core.spec import Spec

Share = Annotated[float, Field(ge=0, le=1)]


class Chosen(NamedTuple):
    """A schedule of transformers: its name, how long it rises, and what else it is given."""

    name: str
    warmup_steps: int
    arguments: dict[str, Any]


class Linear(Spec):
    """Up from nothing over the warm-up, then down in a straight line to nothing: the fraction of the learning rate at
    step t of T, warm-up W, is t / W, then (T - t) / (T - W)."""

    kind: Literal["linear"] = "linear"

    def chosen(self, steps: int, warmup: int) -> Chosen:
        """For a training of `steps` steps that rises for `warmup` of them."""
        return Chosen("linear", warmup, {})


class Cosine(Spec):
    """Up over the warm-up, then down along half a cosine: m + (1 - m) (1 + cos(π (t - W) / (T - W))) / 2, where m is
    `minimum`, a fraction of the learning rate.

    Reference: SGDR, Loshchilov and Hutter, 2017, https://arxiv.org/abs/1608.03983, equation 5, without restarts.
    """

    kind: Literal["cosine"] = "cosine"
    minimum: Share = 0.0

    def chosen(self, steps: int, warmup: int) -> Chosen:
        """For a training of `steps` steps that rises for `warmup` of them."""
        if self.minimum == 0:
            return Chosen("cosine", warmup, {})
        return Chosen("cosine_with_min_lr", warmup, {"min_lr_rate": self.minimum})


class Constant(Spec):
    """Up over the warm-up, then the learning rate as it is."""

    kind: Literal["constant"] = "constant"

    def chosen(self, steps: int, warmup: int) -> Chosen:
        """For a training of `steps` steps that rises for `warmup` of them."""
        return Chosen("constant_with_warmup", warmup, {})


class WSD(Spec):
    """Warm-up, stable, decay: up, then the whole learning rate, and over the last share of the steps down.

    With x from 0 to 1 over the steps of `decay`, the fraction of the learning rate is m + (1 - m) f(x): f is 1 - x
    (linear), 1 - √x (1-sqrt) or (1 + cos(π x)) / 2 (cosine), m is `minimum`, from which the warm-up starts too.
    A model of the stable part can be trained on for as long as there are data: `decay: 0` stops there ("infinite"
    schedule), and a later `train` stage with `warmup: 0` goes on with it or brings it down with `decay: 1`.

    Reference: MiniCPM, Hu et al., 2024, https://arxiv.org/abs/2404.06395; 1-sqrt: Hägele et al., 2024,
    https://arxiv.org/abs/2405.18392.
    """

    kind: Literal["wsd"] = "wsd"
    decay: Share = 0.1  # share of the steps
    shape: Literal["linear", "1-sqrt", "cosine"] = "1-sqrt"
    minimum: Share = 0.0  # of the learning rate

    def chosen(self, steps: int, warmup: int) -> Chosen:
        """For a training of `steps` steps that rises for `warmup` of them. A `StageError` where they do not fit."""
        decay = math.ceil(self.decay * steps)
        if warmup + decay > steps:
            raise StageError(
                f"schedule wsd: {warmup} steps of warm-up and {decay} of decay are more than the {steps} there are; "
                "lower warmup or decay"
            )
        arguments = {"num_decay_steps": decay, "decay_type": self.shape, "min_lr_ratio": self.minimum}
        return Chosen("warmup_stable_decay", warmup, arguments)


def _named(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


_Name = Literal["linear", "cosine", "constant", "wsd"]
_OneOf = Annotated[Linear | Cosine | Constant | WSD, Field(discriminator="kind")]

AnySchedule = Annotated[_OneOf, BeforeValidator(_named, json_schema_input_type=_Name | _OneOf)]
"""A schedule, or the name of one that is to have its defaults."""
