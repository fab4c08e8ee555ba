"""Random batches that exercise every part of `Batch`: several positives, ragged lists, shared and known documents."""

import torch
from torch.nn.functional import normalize

from embedkit.losses import Batch, Ragged

POSITIVES = [[0], [1, 2], [3], [4, 0]]  # queries 0 and 3 share a document
NEGATIVES = [[5, 6], [7], [], [5, 1]]  # 5 is used twice, 1 is another query's positive
KNOWN = {(2, 6), (0, 7)}


def ragged_batch(*, seed: int = 0, dtype: torch.dtype = torch.float64, negatives: bool = True, **changes) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    own = NEGATIVES if negatives else [[] for _ in NEGATIVES]
    lists = [torch.rand(len(p) + len(n), generator=generator).tolist() for p, n in zip(POSITIVES, own, strict=True)]
    parts = {
        "queries": normalize(torch.randn(4, 6, generator=generator, dtype=torch.float64), dim=1).to(dtype),
        "documents": normalize(torch.randn(8, 6, generator=generator, dtype=torch.float64), dim=1).to(dtype),
        "query_ids": torch.tensor([10, 11, 12, 13]),
        "doc_ids": torch.tensor([100, 107, 106, 105, 104, 103, 102, 101]),
        "positives": Ragged.of(POSITIVES),
        "negatives": Ragged.of(own),
        "known": torch.tensor([(2, 102), (0, 101), (1, 999)]),
        "targets": Ragged.of(lists, dtype=torch.float64),
    }
    return Batch(**(parts | changes))


def own_scores(batch: Batch) -> list[list[float]]:
    scores = (batch.queries[batch.own.rows] * batch.documents[batch.own.values]).sum(-1)
    return nested(Ragged(batch.own.offsets, scores))


def nested(ragged: Ragged) -> list[list[float]]:
    return [part.tolist() for part in ragged.values.split(ragged.lengths.tolist())]
