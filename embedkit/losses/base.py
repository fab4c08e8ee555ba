"""What every loss is given, and what it must return."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from embedkit.core.errors import DataError
from embedkit.core.spec import Spec


@dataclass(frozen=True)
class Ragged:
    """One list per row, without padding: row i has `values[offsets[i] : offsets[i + 1]]`."""

    offsets: Tensor  # (rows + 1,) int64, from 0
    values: Tensor  # (n,)

    @classmethod
    def of(cls, lists: Sequence[Sequence[float]], *, dtype: torch.dtype = torch.int64) -> "Ragged":
        """The ragged form of nested lists."""
        lengths = torch.tensor([0, *map(len, lists)], dtype=torch.int64)
        return cls(lengths.cumsum(0), torch.tensor([value for row in lists for value in row], dtype=dtype))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> Tensor:
        """(rows,)"""
        return self.offsets.diff()

    @cached_property
    def rows(self) -> Tensor:
        """(n,): the row each value belongs to."""
        numbers = torch.arange(len(self), device=self.offsets.device)
        return numbers.repeat_interleave(self.lengths, output_size=len(self.values))

    def padded(self) -> tuple[Tensor, Tensor]:
        """(rows, L) values with zeros after each list, and (rows, L) bool: True where a value is."""
        longest = int(self.lengths.max()) if len(self) else 0
        present = torch.arange(longest, device=self.offsets.device) < self.lengths[:, None]
        values = self.values.new_zeros(present.shape)
        return values.masked_scatter(present, self.values), present


@dataclass(frozen=True)
class Batch:
    """Embeddings of one training batch, and who is relevant to whom.

    B queries of this process, M distinct documents (each text once, whoever uses it), D dimensions. With several
    processes, `all_queries` and `documents` are those of every process, and `offset` is where this process's queries
    begin. Ids are integers that are equal exactly where the texts are.
    """

    queries: Tensor  # (B, D), of this process
    documents: Tensor  # (M, D), of every process
    query_ids: Tensor  # (Q,) int64, ids of `all_queries`
    doc_ids: Tensor  # (M,) int64, all different
    positives: Ragged  # per query of this process: columns of `documents`, at least one
    negatives: Ragged  # per query of this process: columns of `documents`, of its own negatives
    known: Tensor  # (K, 2) int64: row of `all_queries`, id of a document relevant to it (positives need no entry)
    targets: Ragged | None = None  # teacher scores over each query's own list: its positives, then its negatives
    all_queries: Tensor = field(default_factory=lambda: torch.empty(0))  # (Q, D); `queries` where left out
    offset: int = 0  # row of `all_queries` that is this process's first

    def __post_init__(self) -> None:
        if not len(self.all_queries):
            object.__setattr__(self, "all_queries", self.queries)
        if problem := _problem(self):
            raise DataError(f"batch: {problem}")

    def full_precision(self) -> "Batch":
        """The batch with embeddings of at least float32."""
        wide = {
            name: tensor.float()
            for name in ("queries", "documents", "all_queries")
            if (tensor := getattr(self, name)).dtype in (torch.float16, torch.bfloat16)
        }
        return replace(self, **wide) if wide else self

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

    def without_negatives(self) -> "Batch":
        """The batch without documents that no query of it holds relevant, and so without negatives of a query's own.

        With several processes, `known` must have the positives of every query: then all keep the same documents.
        """
        kept = self._relevant.any(0)
        place = kept.cumsum(0) - 1
        return replace(
            self,
            documents=self.documents[kept],
            doc_ids=self.doc_ids[kept],
            positives=Ragged(self.positives.offsets, place[self.positives.values]),
            negatives=Ragged(torch.zeros_like(self.negatives.offsets), self.negatives.values[:0]),
            targets=None,
        )

    def excluded(self, rows: Tensor, columns: Tensor) -> Tensor:
        """(len(rows), len(columns)) bool: the document is relevant to the query, so it is never its negative.

        `rows` are rows of `all_queries`, `columns` are columns of `documents`.
        """
        return self._relevant[rows][:, columns]

    @cached_property
    def _relevant(self) -> Tensor:
        """(Q, M) bool."""
        mask = torch.zeros(len(self.all_queries), len(self.documents), dtype=torch.bool, device=self.documents.device)
        ids, order = self.doc_ids.sort()
        place = torch.searchsorted(ids, self.known[:, 1].contiguous()).clamp(max=len(ids) - 1)
        present = ids[place] == self.known[:, 1]
        mask[self.known[present, 0], order[place[present]]] = True
        mask[self.positives.rows + self.offset, self.positives.values] = True
        return mask


class Loss(Spec, abc.ABC):
    """A training objective: a pure function of embeddings, with its hyper-parameters as fields."""

    kind: str
    needs_targets: ClassVar[bool] = False  # True: every query needs teacher scores over its own list

    def __call__(self, batch: Batch) -> Tensor:
        """The mean loss over this process's queries, a scalar, computed in float32 or wider also under autocast."""
        with torch.autocast(batch.queries.device.type, enabled=False):
            return self.compute(batch.full_precision())

    @abc.abstractmethod
    def compute(self, batch: Batch) -> Tensor:
        """The loss of a batch whose embeddings are float32 or wider."""


def _problem(batch: Batch) -> str | None:
    """What is wrong with the batch, if anything."""
    rows, columns = len(batch.queries), len(batch.documents)
    every = len(batch.all_queries)
    shapes = (batch.queries.shape[1:], batch.documents.shape[1:], batch.all_queries.shape[1:])
    used = torch.cat([batch.positives.values, batch.negatives.values])
    checks = (
        (rows == 0, "no queries"),
        (len(set(shapes)) > 1 or len(shapes[0]) != 1, f"embeddings must be (rows, D); their row shapes are {shapes}"),
        (len(batch.query_ids) != every, f"{len(batch.query_ids)} query ids for {every} queries"),
        (len(batch.doc_ids) != columns, f"{len(batch.doc_ids)} document ids for {columns} documents"),
        (not 0 <= batch.offset <= every - rows, f"offset {batch.offset} with {rows} of {every} queries"),
        (
            len(batch.positives) != rows or len(batch.negatives) != rows,
            f"positives and negatives must be {rows} lists each",
        ),
        (batch.known.shape[1:] != (2,), f"known must be (K, 2); found {tuple(batch.known.shape)}"),
    )
    for wrong, message in checks:
        if wrong:
            return message
    if bool((batch.positives.lengths < 1).any()):
        return "a query has no positive; every query needs one"
    if bool(((used < 0) | (used >= columns)).any()):
        return f"a positive or negative is outside the {columns} documents"
    if bool((batch.doc_ids.sort().values.diff() == 0).any()):
        return "two documents have one id; each distinct text must be there once"
    if batch.targets is not None and not torch.equal(batch.targets.offsets, batch.own.offsets):
        return "target scores must be one per positive and negative of each query"
    return None
