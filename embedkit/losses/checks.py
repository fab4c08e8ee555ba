"""Whether the parts of a batch fit together."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from embedkit.losses.batch import Batch


def problem_of(batch: "Batch") -> str | None:
    """What is wrong with the batch, if anything."""
    rows, columns, local = len(batch.queries), len(batch.documents), batch.local or range(0)
    shapes = (batch.queries.shape[1:], batch.documents.shape[1:])
    checks = (
        (len(local) == 0, "no queries"),
        (len(set(shapes)) > 1 or len(shapes[0]) != 1, f"embeddings must be (rows, D); their row shapes are {shapes}"),
        (len(batch.query_ids) != rows, f"{len(batch.query_ids)} query ids for {rows} queries"),
        (len(batch.doc_ids) != columns, f"{len(batch.doc_ids)} document ids for {columns} documents"),
        (
            local.step != 1 or not 0 <= local.start <= local.stop <= rows,
            f"the queries to account for are {local} of {rows}",
        ),
        (
            len(batch.positives) != rows or len(batch.negatives) != rows,
            f"positives and negatives must be {rows} lists each",
        ),
        *((p.shape[1:] != (2,), f"{n} must be (K, 2); found {tuple(p.shape)}") for n, p in _pairs(batch)),
        *((len(t) != n, f"{name} must be {n} rows; found {len(t)}") for name, t, n in _sized(batch)),
    )
    for wrong, message in checks:
        if wrong:
            return message
    return _contents_problem(batch, torch.cat([batch.positives.values, batch.negatives.values]))


def _contents_problem(batch: "Batch", used: Tensor) -> str | None:
    columns = len(batch.documents)
    if bool((batch.positives.lengths < 1).any()):
        return "a query has no positive; every query needs one"
    if bool(((used < 0) | (used >= columns)).any()):
        return f"a positive or negative is outside the {columns} documents"
    if bool((batch.by_id[0].diff() == 0).any()):
        return "two documents have one id; each distinct text must be there once"
    if batch.targets is not None and not torch.equal(batch.targets.offsets, batch.own.offsets):
        return "target scores must be one per positive and negative of each query"
    return None


def _pairs(batch: "Batch") -> tuple[tuple[str, Tensor], ...]:
    return ("known", batch.known), ("suspects", batch.suspects)


def _sized(batch: "Batch") -> list[tuple[str, Tensor, int]]:
    """Optional parts that have one row a query or document: name, tensor, rows."""
    rows, columns = len(batch.queries), len(batch.documents)
    parts = [
        ("query_classes", batch.query_classes, rows),
        ("doc_classes", batch.doc_classes, columns),
        ("guide.queries", batch.guide and batch.guide.queries, rows),
        ("guide.documents", batch.guide and batch.guide.documents, columns),
    ]
    return [(name, tensor, size) for name, tensor, size in parts if tensor is not None]
