"""Documents mixed from others, and a batch that has them among its own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import normalize

from embedkit.losses.batch import Batch
from embedkit.losses.parts import Guide
from embedkit.losses.ragged import Ragged
from embedkit.losses.wrapper import lowest


@dataclass(frozen=True)
class Mixes:
    """K mixed documents, each made for one query: weighted sums of n parents in all, and of the query itself."""

    rows: Tensor  # (K,) row of the query
    shares: Tensor  # (K,) weight of the query
    children: Tensor  # (n,) which of the K each parent goes into
    parents: Tensor  # (n,) column
    weights: Tensor  # (n,)

    @classmethod
    def joined(cls, parts: Sequence["Mixes"]) -> "Mixes":
        """All of several."""
        before, children = 0, []
        for part in parts:
            children.append(part.children + before)
            before += len(part.rows)
        rows, shares, parents, weights = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("rows", "shares", "parents", "weights")
        )
        return cls(rows, shares, torch.cat(children), parents, weights)

    @cached_property
    def requests(self) -> Tensor:
        """(n,) row of the query that each parent is mixed for."""
        return self.rows[self.children]

    def kept(self, good: Tensor) -> "Mixes":
        """Those that are `good`, (K,) bool."""
        of_good, place = good[self.children], good.cumsum(0) - 1
        children = place[self.children][of_good]
        return Mixes(self.rows[good], self.shares[good], children, self.parents[of_good], self.weights[of_good])

    def blend(self, queries: Tensor, documents: Tensor) -> Tensor:
        """(K, D) sums of these vectors."""
        own = self.shares[:, None].to(queries.dtype) * queries[self.rows]
        return own.index_add(0, self.children, self.weights[:, None].to(own.dtype) * documents[self.parents])


def with_mixes(batch: Batch, mixes: Mixes, *, own: bool, margin: float, detach: bool) -> Batch:
    """The batch with further documents, those left out that score above their query's lowest positive − `margin`.

    Nobody's negative is mixed of a document that is, or may be, relevant to them. If `own`, mixes join the negatives of
    the query they are made for, which all their parents then are, and have teacher scores mixed likewise; else they
    are in-batch negatives of it.
    """
    vectors = mixes.blend(batch.queries, batch.documents)
    vectors = normalize(vectors, dim=1) if batch.unit else vectors
    good = _not_above(batch, mixes.rows, vectors.detach(), margin)
    mixes, vectors = mixes.kept(good), vectors[good]
    if not len(mixes.rows):
        return batch
    ids = _new_ids(batch, mixes)
    by = batch.excluded_by.take(mixes.parents)
    suspects = torch.stack([by.values, ids[mixes.children[by.rows]]], dim=1)
    number = len(batch.documents)
    columns = number + torch.arange(len(ids), device=ids.device)
    return replace(
        batch,
        documents=torch.cat([batch.documents, vectors.detach() if detach else vectors]),
        doc_ids=torch.cat([batch.doc_ids, ids]),
        negatives=_with(batch.negatives, mixes.rows, columns) if own else batch.negatives,
        targets=_targets(batch, mixes) if own else batch.targets,
        suspects=torch.cat([batch.suspects, suspects]),
        doc_classes=_classes(batch, mixes),
        guide=_guide(batch, mixes),
        tile=batch.tile and max(1, batch.tile * number // (number + len(ids))),  # as many scores as before
    )


@torch.no_grad()
def _not_above(batch: Batch, rows: Tensor, vectors: Tensor, margin: float) -> Tensor:
    whole = batch.changed(local=range(len(batch.queries)))
    limits = lowest(Ragged(batch.positives.offsets, whole.positive_scores())) - margin
    return (batch.queries[rows] * vectors).sum(1) <= limits[rows]


def _new_ids(batch: Batch, mixes: Mixes) -> Tensor:
    """(K,) ids that are no text's, in the order of queries' ids, which does not depend on that of their rows."""
    used = [batch.doc_ids, batch.known[:, 1], batch.suspects[:, 1]]
    if batch.taught is not None:
        used.append(batch.taught.doc_ids)
    return torch.cat(used).max() + 1 + batch.query_ids[mixes.rows].argsort(stable=True).argsort()


def _with(lists: Ragged, rows: Tensor, values: Tensor) -> Ragged:
    """The lists with one more value at the end of each of `rows`, in turn."""
    order = torch.cat([lists.rows, rows]).argsort(stable=True)
    added = torch.bincount(rows, minlength=len(lists)).cumsum(0)
    offsets = lists.offsets + torch.cat([added.new_zeros(1), added])
    return Ragged(offsets, torch.cat([lists.values, values.to(lists.values.dtype)])[order])


def _targets(batch: Batch, mixes: Mixes) -> Ragged | None:
    """Teacher scores with those of mixes: their parents', mixed alike; a query counts as its lowest positive."""
    if batch.targets is None:
        return None
    positives = Ragged(batch.positives.offsets, _scores(batch, batch.positives.rows, batch.positives.values))
    weights, shares = (part.detach().to(positives.values.dtype) for part in (mixes.weights, mixes.shares))
    scores = weights * _scores(batch, mixes.requests, mixes.parents)
    mixed = (shares * lowest(positives)[mixes.rows]).index_add(0, mixes.children, scores)
    return _with(batch.targets, mixes.rows, mixed)


def _scores(batch: Batch, rows: Tensor, columns: Tensor) -> Tensor:
    """(n,) teacher scores of documents of queries' own lists."""
    size = len(batch.documents)
    keys, order = (batch.own.rows * size + batch.own.values).sort(stable=True)
    return batch.own_targets.values[order[torch.searchsorted(keys, rows * size + columns)]]


def _classes(batch: Batch, mixes: Mixes) -> Tensor | None:
    """Classes with those of mixes: that of their parents if it is one, else none."""
    if batch.doc_classes is None:
        return None
    classes = batch.doc_classes[mixes.parents]
    ends = [
        classes.new_zeros(len(mixes.rows)).scatter_reduce(0, mixes.children, classes, end, include_self=False)
        for end in ("amin", "amax")
    ]
    return torch.cat([batch.doc_classes, ends[0].where(ends[0] == ends[1], -1)])


def _guide(batch: Batch, mixes: Mixes) -> Guide | None:
    """Guide embeddings with those of mixes: their parents', mixed alike."""
    if batch.guide is None:
        return None
    mixed = normalize(mixes.blend(*batch.guide).detach(), dim=1)
    return Guide(batch.guide.queries, torch.cat([batch.guide.documents, mixed]))
