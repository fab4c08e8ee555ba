"""From the rows of a batch to its distinct texts and who is relevant to whom, as tensors."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from embedkit.core.columns import taken
from embedkit.losses import Ragged
from embedkit.losses.base import Need
from embedkit.training.assembly import Structure
from embedkit.training.examples import Examples
from embedkit.training.guides import GuideVectors
from embedkit.training.samplers import Draw

NO_CLASS: Final = -1


@dataclass(frozen=True)
class Picks:
    """How many of a row's documents a batch shows, and which.

    Where a row has more positives than `positives`, they take seeded turns. Of the negatives, the first ones are
    shown, or with `vary_negatives` they take turns as well. None shows all. `random_negatives` are drawn from all
    documents, for each query and turn, without what is or may be relevant to it.
    """

    positives: int | None = 1
    negatives: int | None = None
    vary_negatives: bool = False
    random_negatives: int = 0


@dataclass(frozen=True)
class TextBatch:
    """A batch before tokenisation: its distinct texts, and who is relevant to whom."""

    queries: list[str]
    documents: list[str]
    structure: Structure
    ids: dict[str, Any]  # what to tell a user who looks for a bad row


def text_batch(
    examples: Examples,
    draws: Sequence[Draw],
    picks: Picks,
    *,
    seed: int,
    needs: Set[Need] = frozenset(),
    guide: GuideVectors | None = None,
) -> TextBatch:
    """The batch of these rows. Every distinct document is there once, whoever uses it."""
    columns: dict[int, int] = {}
    positives, negatives, scores, queries = [], [], [], []
    rows = examples.rows.take([draw.row for draw in draws])
    for draw, row in zip(draws, rows, strict=True):
        shown = _turn(len(row.positives), picks.positives, draw, seed, vary=True)
        against = _turn(len(row.negatives), picks.negatives, draw, seed, vary=picks.vary_negatives)
        queries.append(row.query)
        positives.append([columns.setdefault(row.positives[j], len(columns)) for j in shown])
        unwanted = [row.negatives[j] for j in against]
        unwanted += _random(picks.random_negatives, examples, draw, seed, besides=unwanted)
        negatives.append([columns.setdefault(document, len(columns)) for document in unwanted])
        scores += [row.positive_targets[j] for j in shown] + [row.negative_targets[j] for j in against]
    documents = list(columns)
    own = [{documents[c] for c in (*p, *n)} for p, n in zip(positives, negatives, strict=True)]
    structure = _structure(queries, documents, positives, negatives, examples)
    if "targets" in needs:
        structure["targets"] = torch.tensor(scores, dtype=torch.float32)
    if "taught" in needs:
        structure["taught_pairs"], structure["taught_scores"] = _taught(queries, own, examples)
    if "classes" in needs:
        structure["query_classes"] = _ids([examples.query_classes.get(query, NO_CLASS) for query in queries])
        structure["doc_classes"] = _ids([examples.document_classes.get(d, NO_CLASS) for d in documents])
    if guide is not None:
        structure["guide_queries"] = guide.queries.of(queries)
        structure["guide_documents"] = guide.documents.of(documents)
    return TextBatch(
        taken(examples.queries, np.array(queries, dtype=np.int64)),
        taken(examples.documents, np.array(documents, dtype=np.int64)),
        structure,
        {"query_ids": [row.query_id for row in rows]},
    )


def _structure(
    queries: list[int],
    documents: list[int],
    positives: list[list[int]],
    negatives: list[list[int]],
    examples: Examples,
) -> Structure:
    wanted, unwanted = Ragged.of(positives), Ragged.of(negatives)
    structure = Structure(
        query_ids=_ids(queries),
        doc_ids=_ids(documents),
        positive_offsets=wanted.offsets,
        positive_columns=wanted.values,
        negative_offsets=unwanted.offsets,
        negative_columns=unwanted.values,
        known=torch.from_numpy(examples.known.pairs(np.array(queries, dtype=np.int64))),
    )
    if examples.suspects:
        structure["suspects"] = _pairs([examples.suspects.get(query, frozenset()) for query in queries])
    return structure


def _taught(queries: list[int], own: list[set[int]], examples: Examples) -> tuple[Tensor, Tensor]:
    """Pairs of a row and a document outside its own list that has a target, and their targets."""
    given = [examples.taught.get(query, {}) for query in queries]
    pairs = _pairs([targets.keys() - mine for targets, mine in zip(given, own, strict=True)])
    scores = [given[row][document] for row, document in pairs.tolist()]
    return pairs, torch.tensor(scores, dtype=torch.float32)


def _pairs(documents: Sequence[Set[int]]) -> Tensor:
    """(K, 2) row and document, rows and documents ascending."""
    return _ids([n for row, some in enumerate(documents) for d in sorted(some) for n in (row, d)]).reshape(-1, 2)


def _ids(numbers: list[int]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int64)


def _random(count: int, examples: Examples, draw: Draw, seed: int, *, besides: list[int]) -> list[int]:
    """So many other documents that are not known or suspected to be relevant; fewer where there are no more."""
    if not count:
        return []
    query = int(examples.rows.queries[draw.row])
    out = examples.known[query] | examples.suspects.get(query, frozenset()) | set(besides)
    count = min(count, len(examples.documents) - len(out))
    generator = np.random.default_rng([seed, draw.row, draw.turn, len(examples.documents)])
    found: dict[int, None] = {}
    while len(found) < count:
        drawn = generator.integers(len(examples.documents), size=count).tolist()
        found.update(dict.fromkeys(d for d in drawn if d not in out))
    return list(found)[:count]


def _turn(available: int, wanted: int | None, draw: Draw, seed: int, *, vary: bool) -> list[int]:
    """Which `wanted` of `available` entries this turn shows: the first ones, or the next ones of a seeded order."""
    if wanted is None or available <= wanted:
        return list(range(available))
    if not vary:
        return list(range(wanted))
    order = np.random.default_rng([seed, draw.row, available]).permutation(available)
    return [int(order[(draw.turn * wanted + i) % available]) for i in range(wanted)]
