"""Random batches that exercise every part of `Batch`: several positives, ragged lists, shared and known documents."""

import torch
from torch.nn.functional import normalize

from embedkit.losses import Batch, Guide, Ragged, Taught

POSITIVES = [[0], [1, 2], [3], [4, 0]]  # queries 0 and 3 share a document
NEGATIVES = [[5, 6], [7], [], [5, 1]]  # 5 is used twice, 1 is another query's positive
KNOWN = {(2, 6), (0, 7)}
SUSPECTS = {(1, 5), (3, 6)}
QUERY_CLASSES = [0, 1, 0, -1]
DOC_CLASSES = [0, 1, 1, 0, 2, 1, 0, -1]
TAUGHT = {(0, 2): 0.4, (2, 1): 0.7, (2, 5): 0.2, (3, 3): 0.6}  # (query, column) -> teacher score


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
        "suspects": torch.tensor([(1, 103), (3, 102), (0, 998)]),
        "targets": Ragged.of(lists, dtype=torch.float64),
        "taught": Taught(
            torch.tensor([0, 2, 2, 3, 1]),
            torch.tensor([106, 107, 103, 105, 997]),
            torch.tensor([0.4, 0.7, 0.2, 0.6, 0.9], dtype=torch.float64),
        ),
        "query_classes": torch.tensor(QUERY_CLASSES),
        "doc_classes": torch.tensor(DOC_CLASSES),
        "guide": Guide(*(normalize(torch.randn(n, 3, generator=generator), dim=1).double() for n in (4, 8))),
        "level": torch.tensor(0.3, dtype=torch.float64),
        "seed": 7,
    }
    return Batch(**(parts | changes))


def own_scores(batch: Batch) -> list[list[float]]:
    scores = (batch.queries[batch.own.rows] * batch.documents[batch.own.values]).sum(-1)
    return nested(Ragged(batch.own.offsets, scores))


def nested(ragged: Ragged) -> list[list[float]]:
    return [part.tolist() for part in ragged.values.split(ragged.lengths.tolist())]
