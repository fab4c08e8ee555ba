"""What is trained on, in the terms of the sentence-transformers trainer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch import Tensor, nn
from torch.utils.data import SequentialSampler


@dataclass(frozen=True)
class Task:
    """What is trained on, in the trainer's terms."""

    loss: nn.Module  # holds the model as `model`
    dataset: Dataset
    batch_size: int  # rows of `dataset` in a batch
    batch_sampler: Any  # as `batch_sampler` of its training arguments
    ids: Callable[[Sequence[int]], Mapping[str, Any]]  # rows of `dataset` -> what to tell who looks for a bad one
    collator: Any = None  # the trainer's own where None
    prompts: Mapping[str, str] | None = None  # by column, for the trainer's own collator


def numbered(steps: int) -> Dataset:
    """A data set with one row a step, for a collator that makes the batch of a step."""
    return Dataset.from_dict({"step": range(steps)})


def in_order(dataset: Dataset, batch_size: int, **_: Any) -> DefaultBatchSampler:
    """A batch sampler that gives the rows as they come."""
    return DefaultBatchSampler(SequentialSampler(dataset), batch_size=batch_size, drop_last=False)


def text_columns(columns: Mapping[str, Any]) -> Dataset:
    """A data set of texts and perhaps labels, for the collator of sentence-transformers."""
    return Dataset.from_dict(dict(columns))


def own_state(loss: nn.Module) -> dict[str, Tensor]:
    """What a loss holds besides the model, which is all that the trainer saves."""
    return {name: value for name, value in loss.state_dict().items() if "model" not in name.split(".")}
