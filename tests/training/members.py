"""Every loss there is, for tests of what joins them to a model: members of `AnyLoss`, and wrappers around each."""

from typing import get_args

import torch
from pydantic import ValidationError
from torch import Tensor

from embedkit.losses import AnyLoss, Batch, InfoNCE, Loss

DIRECTIONS = ("query_to_document", "query_to_query", "document_to_query", "document_to_document")
MEMBERS: tuple[type[Loss], ...] = get_args(get_args(AnyLoss)[0])
WRAPPERS = [member for member in MEMBERS if "loss" in member.model_fields]


class Bar(Loss):
    """How far positives are below a bar that follows their mean score."""

    kind: str = "bar"

    @property
    def needs(self):
        return frozenset({"level"})

    def compute(self, batch: Batch) -> Tensor:
        return batch.mean_over_queries((batch.level + 0.5 - batch.positive_scores()).square())

    def next_level(self, level: Tensor | None, batch: Batch) -> Tensor:
        mean = batch.positive_scores().mean()
        return mean if level is None else 0.9 * level + 0.1 * mean


class Lopsided(Loss):
    """Uses documents for some queries alone, which one process may have none of."""

    kind: str = "lopsided"

    def compute(self, batch: Batch) -> Tensor:
        sums = [batch.local_queries[batch.rows < 3].sum()]
        if bool((batch.rows >= 3).any()):
            sums.append(batch.positive_scores()[batch.entries[0] >= 3].sum())
        return torch.stack(sums).sum() / len(batch)


BY_HAND: list[Loss] = [
    Bar(),
    Lopsided(),
    InfoNCE(temperature=0.3, directions=DIRECTIONS),
    InfoNCE(directions=DIRECTIONS, focal=0.5, hardness=2.0, mask_classes=True, other_positives="negatives"),
]


def _around(inner: Loss) -> list[Loss]:
    """Each wrapper around `inner`, where it takes such a loss."""
    result = []
    for wrapper in WRAPPERS:
        try:
            result.append(wrapper.model_validate({"loss": inner}))
        except ValidationError:
            continue
    return result


def every_loss() -> dict[str, Loss]:
    """Name -> loss."""
    plain = [member() for member in MEMBERS]
    once = [outer for inner in plain for outer in _around(inner)]
    twice = [outer for inner in _around(InfoNCE(directions=DIRECTIONS)) for outer in _around(inner)]
    named = {_name(loss): loss for loss in (*plain, *once, *twice)}
    return named | {f"{_name(loss)} {i}": loss for i, loss in enumerate(BY_HAND)}


def _name(loss: Loss) -> str:
    return f"{loss.kind}({_name(inner)})" if isinstance(inner := getattr(loss, "loss", None), Loss) else loss.kind
