"""Tokenises the next batch while the model computes this one.

The trainer asks for a batch one step ahead, and that is when its texts are chosen; only their tokens come later, so
what a batch is does not depend on how fast anything is.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from embedkit.retrieval.tokens import can_tokenise
from embedkit.training.chunks import Features

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Preprocess = Callable[..., Mapping[str, Any]]


class Later:
    """Features that a thread is making. The trainer, which moves tensors to the device, passes it on as it is."""

    def __init__(self, features: "Future[Features]") -> None:
        self._features = features

    def on(self, device: torch.device) -> Features:
        """The features on a device; waits for them, but not for their copy."""
        made = self._features.result()
        return {name: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for name, v in made.items()}


class Ahead:
    """A model's `preprocess` that comes back at once, with the features as a `Later` in the place of `input_ids`.

    It has a tokenizer of its own: they cannot serve two threads, and the model's may be in use by an evaluation.
    """

    def __init__(self, model: "SentenceTransformer") -> None:
        self._module: Any = copy.copy(model[0])
        self._module.processor = copy.deepcopy(self._module.processor)
        self._pinned = model.device.type == "cuda"
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokenising")

    def __call__(self, texts: Sequence[str], *, prompt: str | None, task: str) -> dict[str, Later]:
        """As `SentenceTransformer.preprocess` is called."""
        return {"input_ids": Later(self._thread.submit(self._made, list(texts), prompt, task))}

    def _made(self, texts: list[str], prompt: str | None, task: str) -> Features:
        made: Features = self._module.preprocess(texts, prompt=prompt, task=task)
        pin = self._pinned
        return {name: v.pin_memory() if pin and isinstance(v, Tensor) else v for name, v in made.items()}


def tokenising(model: "SentenceTransformer") -> Preprocess:
    """What a collator calls to tokenise: ahead where one tokenizer serves all texts, else the model's own."""
    from sentence_transformers.base.modules import Transformer

    plain = type(model[0]) is Transformer and can_tokenise(model)
    return Ahead(model) if plain else model.preprocess


def arrived(features: Features, device: torch.device) -> Features:
    """Features that may have been made ahead, on the device."""
    later = features.get("input_ids")
    return later.on(device) if isinstance(later, Later) else features
