"""What is trained on, in the terms of the sentence-transformers trainer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from datasets import Dataset
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch import Tensor, nn
from torch.utils.data import Sampler

from embedkit.training.distributed import world_size


@dataclass(frozen=True)
class Task:
    """What is trained on, in the trainer's terms."""

    loss: nn.Module  # holds the model as `model`
    dataset: Dataset
    batch_size: int  # rows of `dataset` in a batch
    batch_sampler: Any  # as `batch_sampler` of its training arguments
    told: Callable[[Sequence[int]], Mapping[str, Any]]  # rows of `dataset` -> their texts, for who looks for a bad one
    collator: Any = None  # the trainer's own where None
    prompts: Mapping[str, str] | None = None  # by column, for the trainer's own collator


def numbered(steps: int) -> Dataset:
    """A data set with one row a step, for a collator that makes the batch of a step."""
    return Dataset.from_dict({"step": range(steps)})


def in_order(dataset: Dataset, batch_size: int, **_: Any) -> DefaultBatchSampler:
    """A batch sampler that gives every process every row, as they come: of several, each gets every so-manieth."""
    return DefaultBatchSampler(_ForAll(len(dataset), world_size()), batch_size=batch_size, drop_last=False)


class _ForAll(Sampler[int]):
    """So many rows in order, each once for every process."""

    def __init__(self, rows: int, processes: int) -> None:
        self.rows, self.processes = rows, processes

    def __len__(self) -> int:
        return self.rows * self.processes

    def __iter__(self) -> Iterator[int]:
        for row in range(self.rows):
            yield from repeat(row, self.processes)


def text_columns(columns: Mapping[str, Any]) -> Dataset:
    """A data set of texts and perhaps labels, for the collator of sentence-transformers."""
    return Dataset.from_dict(dict(columns))


def own_state(loss: nn.Module) -> dict[str, Tensor]:
    """What a loss holds besides the model, which is all that the trainer saves."""
    return {name: value for name, value in loss.state_dict().items() if "model" not in name.split(".")}
