"""The sentence-transformers trainer, with two of its steps' parts watched: the passes and the clipping."""

from functools import partial
from typing import Any, Final

import torch
from accelerate.utils import DistributedType
from sentence_transformers import SentenceTransformerTrainer
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn.utils import clip_grads_with_norm_
from transformers import Trainer

from embedkit.training.distributed import whole, world_size
from embedkit.training.memory_shortage import Shortage
from embedkit.training.numbers import Numbers, Underway

_WHOLE: Final = (DistributedType.NO, DistributedType.MULTI_GPU, DistributedType.MULTI_CPU)  # no gradient in shards


class Stepper(SentenceTransformerTrainer):
    """Steps that too little memory does not end, and whose loss and gradient norms are known without waiting.

    The trainer's own log waits for the device in every step that it tells of. `tell` logs each step once its numbers
    are there: on a CPU at its end, on a GPU when the next one has been launched.
    """

    shortage: Shortage | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._underway: Underway | None = None
        self._loss: Tensor | None = None
        self._norm: Tensor | None = None
        self._norms: Tensor | None = None
        self._parameters: list[Parameter] = []
        self.last: Numbers | None = None  # that were told

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward pass of a batch."""
        step = partial(super().training_step, model, inputs, num_items_in_batch)
        number = self.state.global_step + 1
        loss: Tensor = step() if self.shortage is None else self.shortage.repeated(step, number)
        self._loss = loss
        self.tell()  # of the step before; this one's passes have been launched
        return loss

    def note(self, step: int, learning_rate: float) -> None:
        """Send for the numbers of a step whose gradients are there."""
        if self._loss is None:
            return
        mean = self._loss.clone()
        if world_size() > 1:
            mean = self.accelerator.reduce(mean, reduction="mean")
        self._underway = Underway(step, learning_rate, (mean, self._loss), self._norm, self._norms, self._parameters)
        self._loss = self._norm = self._norms = None

    def tell(self, *, wait: bool = True) -> None:
        """Log the numbers that are underway; not those which it is better to ask for later, without `wait`."""
        if self._underway is None or (self._underway.late and not wait):
            return
        self.last, self._underway = self._underway.read(), None
        logs = {"loss": self.last.loss, "learning_rate": self.last.learning_rate}
        if self.last.grad_norm is not None:
            logs["grad_norm"] = self.last.grad_norm
        self.log(logs)

    def _load_from_checkpoint(self, checkpoint_path: str, model: nn.Module | None = None) -> None:
        """That of sentence-transformers takes no model, which the trainer gives where weights are in shards."""
        if self.is_fsdp_enabled:
            Trainer._load_from_checkpoint(self, checkpoint_path, model)
        else:
            super()._load_from_checkpoint(checkpoint_path)

    def _clip_grad_norm(self, model: nn.Module) -> Tensor | None:
        """As `torch.nn.utils.clip_grad_norm_` does it for the trainer, but the norms that are summed up are kept, so
        that a gradient which is not finite can be named."""
        parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        kinds = {(gradient.device, gradient.dtype) for gradient in gradients}
        if self.accelerator.distributed_type not in _WHOLE or len(kinds) != 1:
            found = whole(super()._clip_grad_norm(model))  # type: ignore[no-untyped-call]
            self._norm, self._norms, self._parameters = found, None, []
            return found
        norms = torch.stack(torch._foreach_norm(gradients))
        norm: Tensor = torch.linalg.vector_norm(norms)
        clip_grads_with_norm_(parameters, self.args.max_grad_norm, norm)
        self._norm, self._norms, self._parameters = norm, norms, parameters
        return norm
