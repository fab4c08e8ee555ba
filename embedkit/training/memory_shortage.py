"""When a step takes more memory than there is: it is repeated, its texts embedded in passes half as large."""

import gc
import json
import logging
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np
import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor, nn

from embedkit.core.errors import EmbedkitError, StageError
from embedkit.core.progress import Emit
from embedkit.core.store import write_atomically
from embedkit.training.chunks import Chunking
from embedkit.training.distributed import rank, world_size
from embedkit.training.objective import Objective

PLACE: Final = "texts-in-a-pass.json"
_log = logging.getLogger(__name__)


class Shortage:
    """Repeats steps of `loss` that run out of memory, and remembers in the folder `work` how large passes may be.

    A repeated step has the batch and the randomness of the first try, so its gradients are those of a training that has
    had passes of this size from this step on; and so are those of a run that begins before it again.

    Of several processes, one that runs out of memory cannot try again, because the others wait for it in an exchange
    that it will not take up where it left it. It remembers smaller passes and stops; started again, all go on from the
    last checkpoint with these.
    """

    def __init__(self, loss: nn.Module, work: Path, emit: Emit) -> None:
        self.loss = loss
        self.path = work / PLACE
        self.emit = emit
        self._found: list[dict[str, Any]] = self._read()  # step, texts, tokens: what was found, in the order of steps

    def repeated(self, step: Callable[[], Tensor], number: int) -> Tensor:
        """What `step` returns, tried with ever smaller passes; before it, there are no gradients.

        `number` is the step's, for messages. A `StageError` where passes cannot be smaller.
        """
        for found in self._found:
            if found["step"] <= number:
                _bound(self.loss, texts=found["texts"], tokens=found["tokens"])
        before = _Moment.of(self.loss)
        while True:
            try:
                return step()
            except Exception as error:
                if not is_shortage(error):
                    raise
                reason = _reason(error)
            # Only here, where the error is gone, are the tensors that its traceback held.
            self.loss.zero_grad(set_to_none=True)  # its model's too
            gc.collect()
            clear_device_cache()
            self._shrink(number, reason)
            before.restore(self.loss)

    def _shrink(self, number: int, reason: str) -> None:
        texts = _shrunk(self.loss)
        if texts is None:
            what = "with one text in a pass" if _in_passes(self.loss) else "and its loss has no passes"
            raise StageError(
                f"training: step {number} needs more memory than there is, {what} ({reason}); lower batch_size or "
                "negatives, set gradient_checkpointing or precision bf16, or give the model shorter texts"
            )
        facts = {"step": number, "texts": texts, "tokens": _tokens(self.loss)}
        self._found = [*(found for found in self._found if found["step"] != number), facts]
        write_atomically(self.path, json.dumps(self._found))
        self.emit("memory_short", {**facts, "why": reason})
        if world_size() > 1:
            raise StageError(
                f"training: step {number} needs more memory than process {rank()} has ({reason}). Run the same command "
                f"again: it goes on from the last checkpoint with {texts} texts in a pass instead"
            )
        _log.warning(
            "step %d needs more memory than there is (%s): from now on %d texts in a pass; set %s: %d to begin so",
            *(number, reason, texts, "chunk_size" if isinstance(self.loss, Objective) else "mini_batch_size", texts),
        )

    def facts(self) -> Mapping[str, Any]:
        """For stats: step, texts and tokens in a pass when it last was too little, and warnings; nothing where memory
        was enough."""
        found = self._read()
        if not found:
            return {}
        line = "memory was too little at step {step}; from then on {texts} texts were in a pass"
        return {**found[-1], "warnings": [line.format(**some) for some in found]}

    def _read(self) -> list[dict[str, Any]]:
        return list(json.loads(self.path.read_text(encoding="utf-8"))) if self.path.is_file() else []


class _Moment(NamedTuple):
    """What a try changes besides gradients: generators, and the levels of losses. What an objective remembers of
    documents knows a step that is tried again."""

    python: Any
    numpy: Any
    cpu: Tensor
    gpu: Tensor | None
    levels: Tensor | None

    @classmethod
    def of(cls, loss: nn.Module) -> Self:
        gpu = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
        levels = loss.levels.clone() if isinstance(loss, Objective) else None
        return cls(random.getstate(), np.random.get_state(), torch.get_rng_state(), gpu, levels)  # noqa: NPY002

    def restore(self, loss: nn.Module) -> None:
        random.setstate(self.python)
        np.random.set_state(self.numpy)  # noqa: NPY002
        torch.set_rng_state(self.cpu)
        if self.gpu is not None:
            torch.cuda.set_rng_state(self.gpu)
        if self.levels is not None and isinstance(loss, Objective):
            loss.levels.copy_(self.levels)


def is_shortage(error: Exception) -> bool:
    """Whether an error says that memory, of a device or of the machine, was not enough."""
    short = isinstance(error, torch.OutOfMemoryError | MemoryError) or should_reduce_batch_size(error)
    return short or "not enough memory" in str(error)


@contextmanager
def beside_passes() -> Iterator[None]:
    """A `StageError` where memory is too little for something else than a step's passes, which `Shortage` sees to."""
    try:
        yield
    except EmbedkitError:
        raise
    except Exception as error:
        if not is_shortage(error):
            raise
        raise StageError(
            f"training: the optimiser, or an evaluation, needs more memory than there is ({_reason(error)}); set lora, "
            "optimizer adafactor, or sharding on several GPUs"
        ) from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def _bound(loss: nn.Module, *, texts: int, tokens: int | None) -> None:
    """From now on no more than this in a pass; a bound that is there and lower stays."""
    if isinstance(loss, Objective):
        size, budget = loss.chunking.size, loss.chunking.tokens
        if tokens is not None and isinstance(budget, int):
            budget = min(budget, tokens)
        loss.chunking = Chunking(texts if size is None else min(size, texts), budget)
    elif (found := _cached(loss)) is not None:
        found.mini_batch_size = min(found.mini_batch_size, texts)
        if tokens is not None and _tokens(loss) is not None:
            found.mini_batch_num_tokens = min(found.mini_batch_num_tokens, tokens)


def _in_passes(loss: nn.Module) -> bool:
    return isinstance(loss, Objective) or _cached(loss) is not None


def _tokens(loss: nn.Module) -> int | None:
    found = loss.chunking if isinstance(loss, Objective) else _cached(loss)
    tokens = getattr(found, "tokens" if isinstance(loss, Objective) else "mini_batch_num_tokens", None)
    return tokens if isinstance(tokens, int) else None


def _shrunk(loss: nn.Module) -> int | None:
    """How many texts there may be in a pass from now on; None where there cannot be fewer."""
    if isinstance(loss, Objective):
        return loss.shrink()
    found = _cached(loss)
    if found is None or found.mini_batch_size <= 1:
        return None
    found.mini_batch_size //= 2
    if (tokens := _tokens(loss)) is not None:  # which is what counts then
        found.mini_batch_num_tokens = max(1, tokens // 2)
    return int(found.mini_batch_size)


def _cached(loss: nn.Module) -> Any:
    """The part of a sentence-transformers loss that embeds in passes; None where there is none."""
    parts: list[Any] = [part for name, part in loss.named_modules() if "model" not in name.split(".")]
    return next((part for part in parts if isinstance(getattr(part, "mini_batch_size", None), int)), None)
