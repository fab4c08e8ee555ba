"""Whether the rules that stand for sentence-transformers' choose what its `mine_hard_negatives` chooses."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers.util import mine_hard_negatives

from embedkit.mining.filters import NONE, Filter
from embedkit.mining.ground import Ground
from embedkit.mining.miner import choose_negatives
from eval.quality.hidden import Trial


def agreement(trial: Trial, filters: tuple[Filter, ...], arguments: Mapping[str, float], *, count: int) -> float:
    """The share of queries with the same negatives, in the same order, of those that have `count` by these filters.

    `arguments` are the same rule for the function, which looks at the same vectors and texts.
    """
    candidates = trial.candidates
    columns = choose_negatives(candidates, filters, count=count).columns
    theirs = _mined(trial.ground, arguments, top_k=candidates.rows.shape[1], count=count)
    documents, same, total = trial.ground.documents, 0, 0
    for query, (text, chosen) in enumerate(zip(trial.ground.texts, columns, strict=True)):
        if (chosen != NONE).all():
            ours = [documents[row] for row in candidates.rows[query, chosen]]
            same, total = same + (ours == theirs.get(text)), total + 1
    return same / total


def _mined(ground: Ground, arguments: Mapping[str, float], *, top_k: int, count: int) -> dict[str, list[str]]:
    """Query text -> negatives by the function."""
    rows = [
        (text, ground.documents[row])
        for text, relevant in zip(ground.texts, ground.relevant, strict=True)
        for row in relevant.tolist()
    ]
    queries, positives = (list(column) for column in zip(*rows, strict=True))
    mined = mine_hard_negatives(
        Dataset.from_dict({"query": queries, "positive": positives}),
        _Given.of(ground),  # type: ignore[arg-type]
        corpus=list(ground.documents),
        range_max=top_k,
        num_negatives=count,
        output_format="triplet",
        use_faiss=False,
        verbose=False,
        relative_margin=arguments.get("relative_margin"),
        absolute_margin=arguments.get("absolute_margin"),
    )
    found: dict[str, list[str]] = defaultdict(list)
    for row in mined:
        if row["negative"] not in found[row["query"]]:
            found[row["query"]].append(row["negative"])
    return found


@dataclass(frozen=True)
class _Given:
    """As much of a model as the function asks for, whose vectors are given."""

    vectors: Mapping[str, NDArray[Any]]
    device = torch.device("cpu")
    model_card_data = SimpleNamespace(base_model=None)

    @staticmethod
    def of(ground: Ground) -> "_Given":
        """Of all texts of the ground."""
        vectors = dict(zip(ground.documents, ground.vectors[:], strict=True))
        return _Given(vectors | dict(zip(ground.texts, ground.queries[:], strict=True)))

    def encode_query(self, texts: list[str], **_: Any) -> torch.Tensor:
        """(n, D)."""
        return torch.stack([torch.from_numpy(self.vectors[text]) for text in texts])

    encode_document = encode_query

    def similarity(self, queries: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
        """The cosine, as vectors are of unit length."""
        return queries @ documents.T

    def similarity_pairwise(self, queries: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
        """The cosine of each pair."""
        return (queries * documents).sum(dim=1)
