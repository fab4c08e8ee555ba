"""The sentence-transformers trainer, with two of its steps' parts watched: the passes and the clipping."""

from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from accelerate.utils import DistributedType
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn.utils import clip_grads_with_norm_
from transformers import Trainer

from embedkit.modules import module_classes
from embedkit.retrieval.loading import no_progress_bars
from embedkit.training.distributed import whole, world_size
from embedkit.training.lora import unreported
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
        if world_size() > 1 and not self.is_fsdp_enabled:
            self._average_own()
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
        """As it was saved, to the last digit; that of sentence-transformers may round weights that learn to the numbers
        of those that do not, and takes no model, which the trainer gives where weights are in shards."""
        if self.is_fsdp_enabled:
            Trainer._load_from_checkpoint(self, checkpoint_path, model)
        else:
            self.model.load_state_dict(checkpointed(Path(checkpoint_path)).state_dict())

    def _average_own(self) -> None:
        """Of the weights that the loss has besides the model's: DDP averages the gradients of the model alone."""
        models = {id(parameter) for parameter in self.model.parameters()}
        losses = self.loss.values() if isinstance(self.loss, dict) else [self.loss]
        for loss in losses:
            for parameter in loss.parameters():
                if parameter.grad is not None and id(parameter) not in models:
                    parameter.grad = self.accelerator.reduce(parameter.grad, reduction="mean")

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


def checkpointed(folder: Path) -> SentenceTransformer:
    """The model that this training saved itself, in float32; not `load_model`, which would merge adapters that still
    learn."""
    with no_progress_bars(), unreported():
        found: SentenceTransformer = SentenceTransformer._load_with_module_classes(
            str(folder),
            module_classes(),
            device="cpu",
            local_files_only=True,
            model_kwargs={"dtype": torch.float32},
        )
    return found
