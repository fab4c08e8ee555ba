"""Parts that a batch may have."""

from typing import NamedTuple

from torch import Tensor


class Guide(NamedTuple):
    """Unit-length embeddings of the batch's texts by another model, made beforehand."""

    queries: Tensor  # (Q, G)
    documents: Tensor  # (M, G)


class Taught(NamedTuple):
    """Teacher scores of documents outside a query's own list."""

    rows: Tensor  # (K,) int64: row of `queries`
    doc_ids: Tensor  # (K,) int64; those of documents that are not in the batch are ignored
    scores: Tensor  # (K,)


class Tiling(NamedTuple):
    """Where gradients of one tile go, while `tiles` computes it; only for these very embeddings."""

    queries: Tensor  # (Q, D)
    documents: Tensor  # (M, D)
    local: range
    rows: Tensor  # (B, D): the queries in `local`, as a tensor of their own
    sink: Tensor  # (M, D): the sum of the documents' gradients
