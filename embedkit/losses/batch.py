"""What every loss is given."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from embedkit.core.errors import DataError
from embedkit.losses.checks import problem_of
from embedkit.losses.kernels import HALF
from embedkit.losses.parts import Guide, Taught, Tiling
from embedkit.losses.ragged import Ragged

if TYPE_CHECKING:
    from embedkit.losses.blocks import Block

# What a rule adds to the logits of a block's (R, C) scores: log weights, −inf to leave a document out, no gradient.
Rule = Callable[["Block", Tensor], Tensor]
# What is cached on a batch and goes stale when these fields change; the rest depends on who is relevant to whom alone.
_STALE = {
    "rows": {"local"},
    "entries": {"local"},
    "document_factors": {"documents", "products"},
}


def _no_pairs() -> Tensor:
    return torch.empty(0, 2, dtype=torch.int64)


@dataclass(frozen=True)
class Batch:
    """Embeddings of one training batch, and who is relevant to whom.

    Q queries and M distinct documents (each text once, whoever uses it) of D dimensions, of every process. A loss
    accounts for the queries in `local` alone: those of this process, or one tile of them. Ids are integers that are
    equal exactly where the texts are.
    """

    queries: Tensor  # (Q, D)
    documents: Tensor  # (M, D)
    query_ids: Tensor  # (Q,) int64
    doc_ids: Tensor  # (M,) int64, all different
    positives: Ragged  # per query: columns (rows of `documents`), at least one
    negatives: Ragged  # per query: columns of its own negatives
    known: Tensor = field(default_factory=_no_pairs)  # (K, 2): query row, id of a document relevant to it
    suspects: Tensor = field(default_factory=_no_pairs)  # (K, 2): query row, id of a document that may be relevant
    targets: Ragged | None = None  # per query: teacher or gold scores of its positives, then of its negatives
    taught: Taught | None = None
    query_classes: Tensor | None = None  # (Q,) int64, −1 where a text has none
    doc_classes: Tensor | None = None  # (M,)
    guide: Guide | None = None
    level: Tensor | None = None  # (): running mean score of positives, where the loss keeps one
    unit: bool = True  # embeddings have unit length
    seed: int = 0  # of what a loss draws: another at each step, the same on every process
    local: range | None = None  # rows of `queries` that the loss accounts for; left out: all
    tile: int | None = None  # queries whose scores are held at once, to save memory; None: all
    rules: tuple[Rule, ...] = ()  # change the weight of negatives, see `Block`
    products: torch.dtype | None = None  # half precision in which a GPU multiplies scores; None: that of embeddings
    tiling: Tiling | None = None  # where gradients of a tile go

    def __post_init__(self) -> None:
        if self.local is None:
            object.__setattr__(self, "local", range(len(self.queries)))
        for name in ("known", "suspects"):  # where left out, they were made on the CPU
            object.__setattr__(self, name, getattr(self, name).to(self.doc_ids.device))
        if problem := problem_of(self):
            raise DataError(f"batch: {problem}")

    def __len__(self) -> int:
        """How many queries the loss accounts for, B."""
        return len(self._range)

    def changed(self, **fields: Any) -> "Batch":
        """The batch with other embeddings, `local`, `rules` ...; who is relevant to whom must stay as it is."""
        if unknown := fields.keys() - self.__dataclass_fields__.keys():
            raise TypeError(f"a batch has no {', '.join(sorted(unknown))}")
        other = copy.copy(self)
        stale = {name for name, causes in _STALE.items() if causes & fields.keys()}
        for name in stale & other.__dict__.keys():
            del other.__dict__[name]
        other.__dict__.update(fields)
        return other

    def full_precision(self) -> "Batch":
        """The batch with embeddings of at least float32."""
        wide = {
            name: tensor.float() for name in ("queries", "documents") if (tensor := getattr(self, name)).dtype in HALF
        }
        return self.changed(**wide) if wide else self

    @property
    def product_type(self) -> torch.dtype:
        """What factors of scores are rounded to before they are multiplied; sums are float32 or wider."""
        return self.products or self.documents.dtype

    @cached_property
    def document_factors(self) -> Tensor:
        """(M, D) documents rounded to `product_type`, without gradient."""
        return self.documents.detach().to(self.product_type)

    @property
    def _range(self) -> range:
        return self.local or range(0)

    @cached_property
    def rows(self) -> Tensor:
        """(B,): rows of `queries` that the loss accounts for."""
        return torch.arange(self._range.start, self._range.stop, device=self.queries.device)

    @property
    def local_queries(self) -> Tensor:
        """(B, D): embeddings of `rows`."""
        own = self.tiling
        if own is not None and own.queries is self.queries and own.local == self.local:
            return own.rows
        return self.queries[self._range.start : self._range.stop]

    @property
    def sink(self) -> Tensor | None:
        """(M, D): what gradients of the documents are added to instead of being returned, if anything."""
        own = self.tiling
        return own.sink if own is not None and own.documents is self.documents else None

    @cached_property
    def entries(self) -> tuple[Tensor, Tensor]:
        """(P,) row and (P,) column of every positive of the local queries."""
        positives = self.positives.take(self.rows)
        return positives.rows + self._range.start, positives.values

    @cached_property
    def own(self) -> Ragged:
        """Each query's own list of columns: its positives, then its negatives."""
        rows = torch.cat([self.positives.rows, self.negatives.rows])
        order = rows.argsort(stable=True)
        columns = torch.cat([self.positives.values, self.negatives.values])
        return Ragged(self.positives.offsets + self.negatives.offsets, columns[order])

    @property
    def own_targets(self) -> Ragged:
        """Teacher scores over `own`; a `DataError` where there are none."""
        if self.targets is None:
            raise DataError("batch: no teacher scores; this loss needs one per positive and negative of each query")
        return self.targets

    @cached_property
    def relevant(self) -> Ragged:
        """Per query: the columns known to be relevant to it."""
        rows, columns = self.present(self.known[:, 0], self.known[:, 1])[:2]
        return self._sets(torch.cat([self.positives.rows, rows]), torch.cat([self.positives.values, columns]))

    @cached_property
    def excluded(self) -> Ragged:
        """Per query: the columns that are never its negatives, because they are or may be relevant to it."""
        rows, columns = self.present(self.suspects[:, 0], self.suspects[:, 1])[:2]
        return self._sets(torch.cat([self.relevant.rows, rows]), torch.cat([self.relevant.values, columns]))

    @cached_property
    def excluded_by(self) -> Ragged:
        """Per document: the rows of queries that exclude it."""
        size = len(self.queries)
        return Ragged.sets(self.excluded.values, self.excluded.rows, count=len(self.documents), limit=size)

    @cached_property
    def same_query(self) -> Ragged:
        """Per query: the rows of queries of the same text, itself among them."""
        order = self.query_ids.argsort(stable=True)
        _, group, sizes = torch.unique(self.query_ids, return_inverse=True, return_counts=True)
        return Ragged(torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]), order).take(group)

    @cached_property
    def by_id(self) -> tuple[Tensor, Tensor]:
        """(M,) ids of the documents, ascending, and the column of each."""
        ids, columns = self.doc_ids.sort()
        return ids, columns

    def present(self, rows: Tensor, doc_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of (row, id of a document) pairs, those whose document is in the batch: row, column, place in the input."""
        ids, order = self.by_id
        place = torch.searchsorted(ids, doc_ids.contiguous()).clamp(max=len(ids) - 1)
        found = (ids[place] == doc_ids).nonzero()[:, 0]
        return rows[found], order[place[found]], found

    def positive_scores(self) -> Tensor:
        """(P,) student scores of `entries`."""
        rows, columns = self.entries
        return (self.local_queries[rows - self._range.start] * self.pick(columns)).sum(-1)

    def pick(self, columns: Tensor) -> Tensor:
        """(n, D) embeddings of these documents."""
        sink = self.sink
        if sink is None:
            return self.documents[columns]
        rows: Tensor = _Pick.apply(self.documents, columns, sink)  # type: ignore[no-untyped-call]
        return rows

    def mean_over_queries(self, values: Tensor) -> Tensor:
        """(P,) values of `entries` -> their mean within each query, averaged over the local queries."""
        return (values / self.positives.lengths[self.entries[0]]).sum() / len(self)

    def without_negatives(self) -> "Batch":
        """The batch without the documents that are there as a query's own negative, and relevant to no query of it."""
        kept = torch.ones(len(self.documents), dtype=torch.bool, device=self.documents.device)
        kept[self.negatives.values] = False
        kept[self.relevant.values] = True
        place = kept.cumsum(0) - 1
        return replace(
            self,
            documents=self.documents[kept],
            doc_ids=self.doc_ids[kept],
            positives=Ragged(self.positives.offsets, place[self.positives.values]),
            negatives=Ragged(torch.zeros_like(self.negatives.offsets), self.negatives.values[:0]),
            targets=None,
            doc_classes=None if self.doc_classes is None else self.doc_classes[kept],
            guide=None if self.guide is None else Guide(self.guide.queries, self.guide.documents[kept]),
        )

    def _sets(self, rows: Tensor, columns: Tensor) -> Ragged:
        return Ragged.sets(rows, columns, count=len(self.queries), limit=len(self.documents))


class _Pick(torch.autograd.Function):
    """Rows of a matrix, whose gradient is added into `sink`."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, rows: Tensor, sink: Tensor) -> Tensor:
        ctx.rows, ctx.sink = rows, sink
        return matrix[rows]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, None]:
        ctx.sink.index_add_(0, ctx.rows, grads[0].to(ctx.sink.dtype))
        return None, None, None
