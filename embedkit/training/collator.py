"""From the number of a step to the tensors of its batch."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import torch

from embedkit.losses.base import Need
from embedkit.training.examples import Examples
from embedkit.training.guides import GuideVectors
from embedkit.training.prompts import Prompts
from embedkit.training.samplers import Batches, Turns, mixed
from embedkit.training.texts import Picks, TextBatch, text_batch


@dataclass(frozen=True)
class Feed:
    """Where batches come from, and what goes with them."""

    examples: Examples
    batches: Batches
    picks: Picks
    needs: Set[Need] = frozenset()  # the loss's
    guide: GuideVectors | None = None

    def texts(self, step: int) -> TextBatch:
        """The batch of a step of its own."""
        return text_batch(
            self.examples,
            self.batches[step],
            self.picks,
            seed=self.batches.seed,
            needs=self.needs,
            guide=self.guide,
        )


@dataclass
class Collator:
    """Gives the trainer the batch of a step: tokenised distinct queries and documents, with the model's prompts.

    A batch is of one of the `feeds`, the one whose turn it is.
    """

    feeds: Sequence[Feed]
    turns: Turns
    preprocess: Callable[..., Mapping[str, Any]]  # the model's
    prompts: Prompts
    seed: int  # of what losses draw
    valid_label_columns: list[str] = field(default_factory=list)  # asked for by the trainer

    def __call__(self, features: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        """The inputs of the step that the single entry of `features` names."""
        texts = self.texts(features[0]["step"])
        queries = self.preprocess(texts.queries, prompt=self.prompts.query, task="query")
        documents = self.preprocess(texts.documents, prompt=self.prompts.document, task="document")
        return {
            **{f"query_{name}": value for name, value in queries.items()},
            **{f"document_{name}": value for name, value in documents.items()},
            "label": texts.structure,
        }

    def texts(self, step: int) -> TextBatch:
        """The batch of a step before tokenisation."""
        source, place = self.turns[step]
        batch = self.feeds[source].texts(place)
        batch.structure["source"] = torch.tensor(source)
        batch.structure["seed"] = torch.tensor(mixed(self.seed, step))
        return batch
