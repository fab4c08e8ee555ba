"""From the structure of each process's batch, as a collator makes it, to the one batch that a loss is given."""

from typing import NotRequired, TypedDict

import torch
from torch import Tensor

from embedkit.core.errors import DataError
from embedkit.losses import Batch, Guide, Ragged, Taught
from embedkit.training.distributed import Gathered, gather

_OF_QUERIES = ("query_ids", "query_classes", "guide_queries")
_OF_DOCUMENTS = ("doc_ids", "doc_classes", "guide_documents")
_OTHERS = ("known", "suspects", "targets", "taught_pairs", "taught_scores")
_LISTS = ("positive", "negative")
_SAME = ("seed", "source")  # one number, equal in every process


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


def assemble(queries: Tensor, documents: Tensor, structure: Structure, *, unit: bool = True) -> Batch:
    """The batch of a loss: what every process holds, each distinct document once, `local` the queries of this one."""
    parts = gather({"queries": queries, "documents": documents, **_parts(structure)})
    _check_same(parts)
    doc_ids, first, place = _distinct(parts["doc_ids"].rows)
    of_queries = {name: parts[name].rows for name in ("queries", *_OF_QUERIES) if name in parts}
    of_documents = {name: _rows(parts[name].rows, first) for name in ("documents", *_OF_DOCUMENTS) if name in parts}
    positives, negatives = (_list(parts, name, place) for name in _LISTS)
    targets = parts.get("targets")
    taught = _pairs(parts, "taught_pairs")
    return Batch(
        queries=of_queries["queries"],
        documents=of_documents["documents"],
        query_ids=of_queries["query_ids"],
        doc_ids=doc_ids,
        positives=positives,
        negatives=negatives,
        known=_pairs(parts, "known"),
        suspects=_pairs(parts, "suspects"),
        targets=None if targets is None else Ragged(positives.offsets + negatives.offsets, targets.rows),
        taught=Taught(taught[:, 0], taught[:, 1], parts["taught_scores"].rows) if "taught_scores" in parts else None,
        query_classes=of_queries.get("query_classes"),
        doc_classes=of_documents.get("doc_classes"),
        guide=Guide(of_queries["guide_queries"], of_documents["guide_documents"]) if "guide_queries" in parts else None,
        unit=unit,
        seed=int(parts["seed"].rows[0]) if "seed" in parts else 0,
        local=parts["queries"].local,
    )


def _parts(structure: Structure) -> dict[str, Tensor | None]:
    """What is gathered of a structure, in one order; None for what is not there. Lists go as lengths and values."""
    plain: dict[str, Tensor] = dict(structure)  # type: ignore[arg-type]
    lists = {f"{name}_columns": plain[f"{name}_columns"] for name in _LISTS}
    lengths = {f"{name}_lengths": plain[f"{name}_offsets"].diff() for name in _LISTS}
    same = {name: plain[name].reshape(1) if name in plain else None for name in _SAME}
    return {**{name: plain.get(name) for name in (*_OF_QUERIES, *_OF_DOCUMENTS, *_OTHERS)}, **lengths, **lists, **same}


def _check_same(parts: dict[str, Gathered]) -> None:
    for name in _SAME:
        if name in parts and len(parts[name].counts) > 1 and len(found := set(parts[name].rows.tolist())) > 1:
            raise DataError(f"batch: {name} differs between processes, found {sorted(found)}; it must be one number")


def _pairs(parts: dict[str, Gathered], name: str) -> Tensor:
    """(K, 2) pairs whose first entry is a row of the queries, of all processes; none where there is no such part."""
    if name not in parts:
        return parts["known"].rows[:0]
    rows = parts[name].rows.clone()
    rows[:, 0] += parts["queries"].starts_for(parts[name])
    return rows


def _list(parts: dict[str, Gathered], name: str, place: Tensor) -> Ragged:
    """Lists of columns: `place` says where among the distinct documents each document is."""
    lengths, columns = parts[f"{name}_lengths"].rows, parts[f"{name}_columns"]
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    return Ragged(offsets, place[columns.rows + parts["documents"].starts_for(columns)])


def _rows(rows: Tensor, first: Tensor) -> Tensor:
    return rows if len(first) == len(rows) else rows[first]  # all distinct, and so in order: not copied


def _distinct(ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct ids in order of first use, where each is first, and the place among them of every entry of `ids`."""
    order = ids.argsort(stable=True)
    starts = torch.cat([torch.ones_like(order[:1]), ids[order].diff().ne(0).long()])
    first, rank = order[starts.bool()].sort()
    columns = torch.empty_like(order)
    columns[order] = rank.argsort()[starts.cumsum(0) - 1]
    return ids[first], first, columns
