"""The numbers of a step, read when they have come from the device: nobody waits for them."""

from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter


class Numbers(NamedTuple):
    """What is told of a step."""

    step: int
    loss: float  # mean of the processes'
    own_loss: float  # this process's
    grad_norm: float | None
    learning_rate: float
    bad: tuple[Parameter, ...]  # whose gradients are not finite

    @property
    def problem(self) -> str | None:
        """What is not a finite number."""
        if not isfinite(self.loss) or not isfinite(self.own_loss):
            return "the loss"
        return None if isfinite(self.grad_norm or 0.0) else "the gradient"


class Underway:
    """A step's numbers on their way from the device.

    A GPU works on behind the program's back as long as that asks for no result. So they are copied when the device gets
    there, and the program goes on to launch the next step meanwhile.
    """

    def __init__(
        self,
        step: int,
        learning_rate: float,
        losses: Sequence[Tensor],
        norm: Tensor | None,
        norms: Tensor | None,
        parameters: Sequence[Parameter],
    ) -> None:
        self.step, self.learning_rate, self.parameters = step, learning_rate, parameters
        self._has_norm = norm is not None
        parts = [*losses, *([] if norm is None else [norm]), *([] if norms is None else [norms])]
        found = torch.cat([part.detach().reshape(-1).to(torch.float32) for part in parts])
        self._there: torch.cuda.Event | None = None
        if found.is_cuda:
            self._found = torch.empty_like(found, device="cpu", pin_memory=True).copy_(found, non_blocking=True)
            self._there = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._there.record()
        else:
            self._found = found.cpu()

    @property
    def late(self) -> bool:
        """Whether it is better to ask after the next step has begun."""
        return self._there is not None

    def read(self) -> Numbers:
        """The numbers; waits for them."""
        if self._there is not None:
            self._there.synchronize()
        loss, own, *rest = self._found.tolist()
        norm = rest.pop(0) if self._has_norm else None
        bad: tuple[Parameter, ...] = ()
        if norm is not None and not isfinite(norm):
            bad = tuple(p for p, value in zip(self.parameters, rest, strict=False) if not isfinite(value))
        return Numbers(self.step, loss, own, norm, self.learning_rate, bad)
