"""A running average of the weights, which training does not see and which becomes the model at its end."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final, cast

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from embedkit.core.errors import StageError
from embedkit.core.spec import Spec

NAME: Final = "average"  # of the attribute by which a loss holds the average of its model


class Average(Spec):
    """The weights w averaged over the steps: a ← d a + (1 - d) w.

    That is done after every `every` steps from `start` on, and after the last;
    d is `decay`; null: the plain mean of all w so far. With `ramp`, d of the nth update is min(decay, (1 + n) /
    (10 + n)), so that the first weights are soon forgotten. The average of what learns (of adapters, with `lora`) is
    the model that is saved, and that evaluation during training sees; training itself goes on with w.

    Reference: Polyak and Juditsky, 1992, https://doi.org/10.1137/0330046; the ramp is TensorFlow's
    `ExponentialMovingAverage` with `num_updates`; the plain mean is SWA, Izmailov et al., 2018,
    https://arxiv.org/abs/1803.05407.
    """

    decay: Annotated[float, Field(ge=0, lt=1)] | None = 0.999
    every: PositiveInt = 1  # steps
    start: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of the steps
    ramp: bool = True

    def begins(self, steps: int) -> int:
        """The step after which averaging begins, in a training of `steps`."""
        return math.ceil(self.start * steps)

    def warnings(self, kept: int, steps: int) -> list[str]:
        """What a user should know of weights that were kept after this step of `steps`."""
        begins = self.begins(steps)
        if kept > begins:
            return []
        return [
            f"average: the weights that were kept are those of step {kept}, and averaging begins after step {begins}, "
            "so they are not averaged; lower start"
        ]

    def keeps(self, updates: int) -> float:
        """d, after this many updates; 0 for the first, which has nothing to keep."""
        if updates == 0:
            return 0.0
        if self.decay is None:
            return updates / (updates + 1)
        return min(self.decay, (1 + updates) / (10 + updates)) if self.ramp else self.decay


class Averager(nn.Module):
    """The average of the parameters of `model` that learn.

    As an attribute of the loss it is part of what checkpoints keep besides the model, and so what goes from one round
    of training to the next. Parameters are found by name at each use: a trainer may have moved or wrapped them.
    """

    updates: Tensor  # () int64: how often weights were added

    def __init__(self, model: nn.Module, average: Average) -> None:
        super().__init__()
        self.average = average
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                self.register_buffer(_buffer(name), torch.zeros_like(parameter, requires_grad=False))

    @torch.no_grad()
    def update(self, model: nn.Module, *, step: int, steps: int) -> None:
        """Add the weights after `step` of `steps`, if it is one of those to be averaged."""
        since = step - self.average.begins(steps)
        if since <= 0 or (since % self.average.every and step != steps):
            return
        averages, weights = self._pairs(model)
        torch._foreach_lerp_(averages, weights, 1 - self.average.keeps(int(self.updates)))
        self.updates += 1

    @torch.no_grad()
    def put_into(self, model: nn.Module) -> None:
        """Make the average the weights of the model; nothing where there is none yet."""
        if self.updates:
            averages, weights = self._pairs(model)
            torch._foreach_copy_(weights, averages)

    def _pairs(self, model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
        buffers = dict(self.named_buffers())
        del buffers["updates"]
        found = {_buffer(name): parameter for name, parameter in model.named_parameters()}
        if lost := sorted(buffers.keys() - found.keys()):
            raise StageError(f"average: the model has no parameter {lost[0].replace('/', '.')!r} any more")
        return list(buffers.values()), [found[name] for name in buffers]


@contextmanager
def averaged(loss: nn.Module, model: nn.Module) -> Iterator[None]:
    """Within it, the weights of `model` are the average that `loss` holds; as they were where it holds none."""
    averager = cast(Averager | None, getattr(loss, NAME, None))
    if averager is None or not averager.updates:
        yield
        return
    weights = averager._pairs(model)[1]
    before = [weight.detach().clone() for weight in weights]
    averager.put_into(model)
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(weights, before)


def _buffer(name: str) -> str:
    return name.replace(".", "/")  # a buffer's name has no dots
