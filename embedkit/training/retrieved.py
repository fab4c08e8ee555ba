"""Documents for a batch of queries, found among vectors that never change by the queries as they are now."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from embedkit.losses import Ragged
from embedkit.retrieval.nearest import Vectors
from embedkit.retrieval.searcher import Searcher
from embedkit.training.assembly import Structure

_KEPT: Final = frozenset({"suspects", "seed", "source"})  # of what a structure may have; the rest is of other documents


class Found(NamedTuple):
    """Of each query: the documents of its list that are relevant, and those that are not. All are numbers."""

    relevant: list[list[int]]
    others: list[list[int]]


class Retrieved:
    """Gives a batch the `top_k` documents that its queries find, as their own positives and negatives.

    What is known to be relevant is a positive where it was found; a query's own positives are added where they were
    not. What may be relevant is left out.
    """

    def __init__(self, vectors: Vectors, searcher: Searcher, *, top_k: int) -> None:
        self.vectors = vectors  # (N, D) by number of the document
        self.searcher = searcher
        self.top_k = top_k

    def __call__(self, queries: Tensor, structure: Structure) -> tuple[Tensor, Structure]:
        """(M, D) distinct documents, and the structure that tells whose they are; of `structure`, the lists are those
        of the queries' positives."""
        numbers = torch.nan_to_num(queries.detach().float()).cpu().numpy()  # where not finite, the loss will not be
        rows, _ = self.searcher.search(numbers, self.top_k)
        found = lists_of(rows.tolist(), structure)
        columns: dict[int, int] = {}
        lists = [Ragged.of([[columns.setdefault(d, len(columns)) for d in row] for row in part]) for part in found]
        doc_ids = np.fromiter(columns, dtype=np.int64)
        documents = torch.from_numpy(np.ascontiguousarray(self.vectors[doc_ids])).to(queries)
        here = queries.device
        (wanted, in_wanted), (unwanted, in_unwanted) = ((p.offsets.to(here), p.values.to(here)) for p in lists)
        result = Structure(
            query_ids=structure["query_ids"],
            doc_ids=torch.from_numpy(doc_ids).to(here),
            positive_offsets=wanted,
            positive_columns=in_wanted,
            negative_offsets=unwanted,
            negative_columns=in_unwanted,
            known=structure["known"],
        )
        for name in _KEPT & structure.keys():
            result[name] = structure[name]  # type: ignore[literal-required]
        return documents, result


def lists_of(rows: list[list[int]], structure: Structure) -> Found:
    """What queries found, in its order, divided; positives that were not found come last of the relevant."""
    known = _by_row(structure["known"])
    suspects = _by_row(structure["suspects"]) if "suspects" in structure else {}
    positives = structure["doc_ids"][structure["positive_columns"]].tolist()
    ends = structure["positive_offsets"].tolist()
    found = Found([], [])
    for i, row in enumerate(rows):
        own = positives[ends[i] : ends[i + 1]]
        relevant = known.get(i, set()) | set(own)
        found.relevant.append(list(dict.fromkeys([*(d for d in row if d in relevant), *own])))
        found.others.append([d for d in row if d not in relevant and d not in suspects.get(i, ())])
    return found


def _by_row(pairs: Tensor) -> Mapping[int, set[int]]:
    result: dict[int, set[int]] = defaultdict(set)
    for row, document in pairs.tolist():
        result[row].add(document)
    return result
