"""What the trainer changes around itself, and gets put back."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer


@contextmanager
def randomness_restored() -> Iterator[None]:
    """The trainer seeds the generators of the process; afterwards they are as they were."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


@contextmanager
def tokenizer_restored(model: SentenceTransformer) -> Iterator[None]:
    """Tokenizers remember the padding and truncation of their last call and would save them with the model."""
    modules: Any = [module for module in model.modules() if isinstance(module, Transformer)]  # towers have one each
    fast = [getattr(module.tokenizer, "backend_tokenizer", None) for module in modules]
    before = [(tokenizer, tokenizer.truncation, tokenizer.padding) for tokenizer in fast if tokenizer is not None]
    try:
        yield
    finally:
        for tokenizer, truncation, padding in before:
            tokenizer.no_truncation()
            tokenizer.no_padding()
            if truncation is not None:
                tokenizer.enable_truncation(**truncation)
            if padding is not None:
                tokenizer.enable_padding(**padding)


@contextmanager
def evaluating(model: SentenceTransformer) -> Iterator[None]:
    """No dropout; afterwards each module is in the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
