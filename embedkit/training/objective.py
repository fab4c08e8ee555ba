"""Joins a model to a loss, in the shape the sentence-transformers trainer calls."""

from collections.abc import Iterator, Sequence
from typing import Any, NotRequired, TypedDict

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

from embedkit.losses import Batch, Loss, Ragged
from embedkit.training.distributed import gather, world_size

Features = dict[str, Any]


class Structure(TypedDict):
    """Who is relevant to whom in a batch, as tensors that travel with it to the device. Rows and columns count the
    queries and documents of this process; lists are offsets and values, see `Ragged`. Every process has the same
    optional parts; what they mean is said at `Batch`."""

    query_ids: Tensor
    doc_ids: Tensor
    positive_offsets: Tensor
    positive_columns: Tensor
    negative_offsets: Tensor
    negative_columns: Tensor
    known: Tensor  # (K, 2): row of the query, id of a document relevant to it
    suspects: NotRequired[Tensor]  # (K, 2): row of the query, id of a document that may be relevant to it
    targets: NotRequired[Tensor]  # teacher scores: per query, of its positives and then of its negatives
    taught_pairs: NotRequired[Tensor]  # (K, 2) int64: row of the query, id of a document that a teacher has scored
    taught_scores: NotRequired[Tensor]  # (K,) float32
    query_classes: NotRequired[Tensor]  # (B,) int64
    doc_classes: NotRequired[Tensor]  # (n,) int64
    guide_queries: NotRequired[Tensor]  # (B, G) float32
    guide_documents: NotRequired[Tensor]  # (n, G) float32
    seed: NotRequired[Tensor]  # () int64: of what a loss draws, equal in every process
    source: NotRequired[Tensor]  # () int64: number of the data source, equal in every process


class Objective(nn.Module):
    """Embeds the queries and the distinct documents of a batch and applies `loss`.

    With `chunk_size`, each chunk of rows keeps no activations: its forward pass is run again, with the same dropout,
    when the backward pass reaches it. Memory of one chunk, and the same gradients as one big forward but for the draw
    of dropout, whose masks fall otherwise in chunks of another size (GradCache, Gao et al., 2021,
    https://arxiv.org/abs/2101.06983). `normalize` brings embeddings to unit length, for cosine similarity.
    """

    def __init__(self, model: nn.Module, loss: Loss, *, chunk_size: int | None = None, normalize: bool = True) -> None:
        super().__init__()
        self.model = model  # the trainer replaces this attribute with its wrapped model
        self.loss = loss
        self.chunk_size = chunk_size
        self.normalize = normalize

    def forward(self, columns: Sequence[Features], structure: Structure) -> Tensor:
        """The loss of a batch; `columns` are the features of its queries and of its documents."""
        queries, documents = (self._embed(column) for column in columns)
        batch = assemble(queries, documents, structure)
        # Processes average their gradients; this makes that the mean over all queries, however many each holds.
        share = len(batch.queries) * world_size() / len(batch.all_queries)
        return self.loss(batch) * share

    def _embed(self, features: Features) -> Tensor:
        if self.chunk_size is None:
            return self._encode(features)
        chunks = _split(features, self.chunk_size)
        return torch.cat([checkpoint(self._encode, chunk, use_reentrant=False) for chunk in chunks])

    def _encode(self, features: Features) -> Tensor:
        rows: Tensor = self.model(dict(features))["sentence_embedding"].float()  # (rows, D)
        return normalize(rows, dim=-1) if self.normalize else rows


def assemble(queries: Tensor, documents: Tensor, structure: Structure) -> Batch:
    """The batch of a loss: embeddings and ids of every process, each distinct document once."""
    all_queries, offset = gather(queries)
    query_ids, _ = gather(structure["query_ids"])
    known, _ = gather(structure["known"] + torch.tensor([offset, 0], device=queries.device))
    all_documents, start = gather(documents)
    doc_ids, _ = gather(structure["doc_ids"])
    doc_ids, first, columns = _distinct(doc_ids)
    all_documents = all_documents[first]
    positives, negatives = (
        Ragged(structure[f"{name}_offsets"], columns[structure[f"{name}_columns"] + start])  # type: ignore[literal-required]
        for name in ("positive", "negative")
    )
    targets = structure.get("targets")
    return Batch(
        queries=queries,
        documents=all_documents,
        query_ids=query_ids,
        doc_ids=doc_ids,
        positives=positives,
        negatives=negatives,
        known=known,
        targets=None if targets is None else Ragged(positives.offsets + negatives.offsets, targets),
        all_queries=all_queries,
        offset=offset,
    )


def _distinct(ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct ids in order of first use, where each is first, and the place among them of every entry of `ids`."""
    order = ids.argsort(stable=True)
    starts = torch.cat([torch.ones_like(order[:1]), ids[order].diff().ne(0).long()])
    first, rank = order[starts.bool()].sort()
    columns = torch.empty_like(order)
    columns[order] = rank.argsort()[starts.cumsum(0) - 1]
    return ids[first], first, columns


def _split(features: Features, size: int) -> Iterator[Features]:
    """`features` in chunks of rows; values that have no rows go with every chunk."""
    rows = max(len(v) for v in features.values() if isinstance(v, Tensor) and v.ndim)
    for start in range(0, rows, size):
        yield {
            k: v[start : start + size] if isinstance(v, Tensor) and v.ndim and len(v) == rows else v
            for k, v in features.items()
        }
