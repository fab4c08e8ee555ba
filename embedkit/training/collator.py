"""From the number of a step to the tensors of its batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from embedkit.losses import Ragged
from embedkit.retrieval.identity import read_config
from embedkit.training.examples import Examples
from embedkit.training.objective import Structure
from embedkit.training.samplers import Batches, Draw


class Prompts(NamedTuple):
    """What a model puts before a query and before a document; None for nothing."""

    query: str | None
    document: str | None


@dataclass(frozen=True)
class Picks:
    """How many of a row's documents a batch shows, and which.

    Where a row has more positives than `positives`, they take seeded turns. Of the negatives, the first ones are
    shown, or with `vary_negatives` they take turns as well. None shows all.
    """

    positives: int | None = 1
    negatives: int | None = None
    vary_negatives: bool = False


@dataclass(frozen=True)
class TextBatch:
    """A batch before tokenisation: its distinct texts, and who is relevant to whom."""

    queries: list[str]
    documents: list[str]
    structure: Structure
    ids: dict[str, Any]  # what to tell a user who looks for a bad row


@dataclass
class Collator:
    """Gives the trainer the batch of a step: tokenised distinct queries and documents, with the model's prompts."""

    examples: Examples
    batches: Batches
    picks: Picks
    preprocess: Callable[..., Mapping[str, Any]]  # the model's
    prompts: Prompts
    targets: bool = False
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
        return text_batch(self.examples, self.batches[step], self.picks, seed=self.batches.seed, targets=self.targets)


def prompts_of(folder: Path) -> Prompts:
    """The prompts that the model in `folder` is used with, see `retrieval.identity.read_config`."""
    prompts = read_config(folder).prompts
    return Prompts(prompts["query"] or None, prompts["document"] or None)


def text_batch(
    examples: Examples, draws: Sequence[Draw], picks: Picks, *, seed: int, targets: bool = False
) -> TextBatch:
    """The batch of these rows. Every distinct document is there once, whoever uses it."""
    columns: dict[int, int] = {}
    positives, negatives, scores, queries, known = [], [], [], [], []
    for i, draw in enumerate(draws):
        row = examples.rows[draw.row]
        shown = _turn(len(row.positives), picks.positives, draw, seed, vary=True)
        against = _turn(len(row.negatives), picks.negatives, draw, seed, vary=picks.vary_negatives)
        queries.append(row.query)
        positives.append([columns.setdefault(row.positives[j], len(columns)) for j in shown])
        negatives.append([columns.setdefault(row.negatives[j], len(columns)) for j in against])
        scores += [row.positive_targets[j] for j in shown] + [row.negative_targets[j] for j in against]
        known += [(i, document) for document in sorted(examples.known[row.query])]
    structure = _structure(queries, list(columns), positives, negatives, known)
    if targets:
        structure["targets"] = torch.tensor(scores, dtype=torch.float32)
    return TextBatch(
        [examples.queries[i] for i in queries],
        [examples.documents[i] for i in columns],
        structure,
        {"query_ids": [examples.rows[draw.row].query_id for draw in draws]},
    )


def _structure(
    queries: list[int],
    documents: list[int],
    positives: list[list[int]],
    negatives: list[list[int]],
    known: list[tuple[int, int]],
) -> Structure:
    wanted, unwanted = Ragged.of(positives), Ragged.of(negatives)
    return Structure(
        query_ids=_ids(queries),
        doc_ids=_ids(documents),
        positive_offsets=wanted.offsets,
        positive_columns=wanted.values,
        negative_offsets=unwanted.offsets,
        negative_columns=unwanted.values,
        known=torch.tensor(known, dtype=torch.int64).reshape(-1, 2),
    )


def _ids(numbers: list[int]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int64)


def _turn(available: int, wanted: int | None, draw: Draw, seed: int, *, vary: bool) -> list[int]:
    """Which `wanted` of `available` entries this turn shows: the first ones, or the next ones of a seeded order."""
    if wanted is None or available <= wanted:
        return list(range(available))
    if not vary:
        return list(range(wanted))
    order = np.random.default_rng([seed, draw.row, available]).permutation(available)
    return [int(order[(draw.turn * wanted + i) % available]) for i in range(wanted)]
