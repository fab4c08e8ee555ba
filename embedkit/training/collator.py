"""From the number of a step to the tensors of its batch."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from embedkit.core.errors import DataError
from embedkit.losses.base import Need
from embedkit.training.distributed import rank, world_size
from embedkit.training.examples import Examples
from embedkit.training.guides import GuideVectors
from embedkit.training.mixing import Turns
from embedkit.training.prompts import NO_PROMPTS, Prompts
from embedkit.training.samplers import Batches, mixed
from embedkit.training.texts import Picks, TextBatch, text_batch


class Share(NamedTuple):
    """Which of a batch's rows a process takes: every step is one batch, whose rows are divided among the processes."""

    number: int = 0
    of: int = 1

    def rows(self, batch: int) -> slice:
        """Of a batch of so many rows; consecutive ones, and of two shares one has at most one row more."""
        return slice(batch * self.number // self.of, batch * (self.number + 1) // self.of)


WHOLE = Share()


def own_share() -> Share:
    """This process's, of those that train together."""
    return Share(rank(), world_size())


@dataclass(frozen=True)
class Feed:
    """Where batches come from, and what goes with them."""

    examples: Examples
    batches: Batches
    picks: Picks
    prompts: Prompts = NO_PROMPTS
    needs: Set[Need] = frozenset()  # the loss's
    guide: GuideVectors | None = None

    def texts(self, step: int, share: Share = WHOLE) -> TextBatch:
        """The batch of a step of its own, or a share of it."""
        draws = self.batches[step]
        if len(draws) < share.of:
            raise DataError(f"batch: its {len(draws)} queries cannot be divided among {share.of} processes; use fewer")
        return text_batch(
            self.examples,
            draws[share.rows(len(draws))],
            self.picks,
            seed=self.batches.seed,
            needs=self.needs,
            guide=self.guide,
        )


@dataclass
class Collator:
    """Gives the trainer the batch of a step: tokenised distinct queries and documents, with their prompts.

    A batch is of one of the `feeds`, the one whose turn it is.
    """

    feeds: Sequence[Feed]
    turns: Turns
    preprocess: Callable[..., Mapping[str, Any]]  # the model's
    seed: int  # of what losses draw
    share: Share = WHOLE  # this process's
    valid_label_columns: list[str] = field(default_factory=list)  # asked for by the trainer

    def __call__(self, features: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        """The inputs of the step that the single entry of `features` names."""
        step = features[0]["step"]
        texts, prompts = self.texts(step), self.prompts(step)
        queries = self.preprocess(texts.queries, prompt=prompts.query, task="query")
        documents = self.preprocess(texts.documents, prompt=prompts.document, task="document")
        return {
            **{f"query_{name}": value for name, value in queries.items()},
            **{f"document_{name}": value for name, value in documents.items()},
            "label": texts.structure,
        }

    def prompts(self, step: int) -> Prompts:
        """Those of the step's source."""
        return self.feeds[self.turns[step][0]].prompts

    def texts(self, step: int) -> TextBatch:
        """This process's share of the batch of a step, before tokenisation."""
        source, place = self.turns[step]
        batch = self.feeds[source].texts(place, self.share)
        batch.structure["source"] = torch.tensor(source)
        batch.structure["seed"] = torch.tensor(mixed(self.seed, step))
        return batch
