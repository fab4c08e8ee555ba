"""Hard negatives made of others while training."""

from collections.abc import Callable
from typing import Literal, Self

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from embedkit.losses.batch import Batch
from embedkit.losses.draws import betas, places, uniforms
from embedkit.losses.mixes import Mixes, with_mixes
from embedkit.losses.ragged import Ragged
from embedkit.losses.wrapper import Wrapper

# What a number is drawn for: the same query draws another number for each.
_FIRST, _SECOND, _WEIGHT, _PARTNER, _SHARE = range(5)


class Mixing(Wrapper):
    """Another loss with further negatives of each query, mixed from its own ones.

        L = loss with documents h_i = norm(Σ_m λ_m n_m), mixed of the negatives n of query i, among its negatives

        `pairwise` of these    λ n_j + (1 − λ) n_k    two negatives j ≠ k drawn evenly, λ drawn from Beta(2, 2)
        with `listwise` one    Σ_m λ_m n_m            all of them, λ_m = softmax_m(q_i·n_m / τ), τ `temperature` [R]

    A query with fewer than two negatives gets none; negatives that may be relevant to it are not mixed. A mix that
    scores above q_i's lowest positive less `margin` is left out [R], since two negatives can be closer to the query
    together than each is. To other queries a mix is an in-batch negative, unless a document in it may be relevant to
    them [R]. Its teacher score is mixed like itself [R]. `detach: false` lets the gradient reach what is mixed. Draws
    depend on the batch's seed and the ids of texts alone.
    Reference: https://arxiv.org/abs/2506.20923 (KaLM-Embedding-V2).
    """

    kind: Literal["mixing"] = "mixing"
    pairwise: NonNegativeInt = 2
    listwise: bool = True
    temperature: PositiveFloat = 0.1
    margin: NonNegativeFloat = 0.0
    detach: bool = True

    @model_validator(mode="after")
    def _has_an_effect(self) -> Self:
        if not self.pairwise and not self.listwise:
            raise ValueError("mixing needs pairwise above 0, or listwise")
        if not self.loss.contrasts and "negatives" not in self.loss.needs:
            raise ValueError(f"loss {self.loss.kind} has no negatives, of which mixing makes more")
        return self

    def compute(self, batch: Batch) -> Tensor:
        """See the class."""
        pool = _own(batch)
        parts = [_pairs(batch, pool, self.pairwise, betas)]
        if self.listwise:
            parts.append(self._lists(batch, pool))
        mixes = Mixes.joined(parts)
        return self.loss(with_mixes(batch, mixes, own=True, margin=self.margin, detach=self.detach))

    def _lists(self, batch: Batch, pool: Ragged) -> Mixes:
        rows = (pool.lengths >= 2).nonzero()[:, 0]
        lists = pool.take(rows)
        scores = (batch.queries[rows[lists.rows]] * batch.documents[lists.values]).sum(1)
        logits, present = Ragged(lists.offsets, scores / self.temperature).padded()
        weights = logits.masked_fill(~present, -torch.inf).softmax(1)[present]
        return Mixes(rows, weights.new_zeros(len(rows)), lists.rows, lists.values, weights)


class MoCHi(Wrapper):
    """Another loss with further negatives of each query, mixed from its hardest ones and from the query.

        L = loss with documents h among the negatives of query i, mixed of the `hardest` N by its score

        `pairs` s          h = norm(α n_j + (1 − α) n_k)    j ≠ k drawn evenly, α from U(0, 1)
        `with_query` s'    h = norm(β q_i + (1 − β) n_j)    j drawn evenly, β from U(0, 1/2), so that n_j dominates

    The negatives n are the query's own, or with `pool: in_batch` all of the batch, in place of the paper's queue; mixes
    of these are in-batch negatives. Negatives that may be relevant to the query are not mixed. A mix that scores above
    q_i's lowest positive less `margin` is left out [R]. To other queries a mix is an in-batch negative, unless a
    document in it may be relevant to them [R]. The teacher score of a mix of a query's own negatives is mixed like
    itself, with the query as its lowest positive [R]. `detach: false` lets the gradient reach what is mixed. Draws
    depend on the batch's seed and the ids of texts alone.
    Reference: https://arxiv.org/abs/2010.01028.
    """

    kind: Literal["mochi"] = "mochi"
    hardest: PositiveInt = 16
    pairs: NonNegativeInt = 4
    with_query: NonNegativeInt = 2
    pool: Literal["own", "in_batch"] = "own"
    margin: NonNegativeFloat = 0.0
    detach: bool = True

    @model_validator(mode="after")
    def _has_an_effect(self) -> Self:
        if not self.pairs and not self.with_query:
            raise ValueError("mochi needs pairs or with_query above 0")
        if not self.loss.contrasts and (self.pool == "in_batch" or "negatives" not in self.loss.needs):
            negatives = "in-batch negatives" if self.pool == "in_batch" else "negatives"
            raise ValueError(f"loss {self.loss.kind} has no {negatives}, of which mochi makes more")
        return self

    def compute(self, batch: Batch) -> Tensor:
        """See the class."""
        own = self.pool == "own"
        pool = _hardest_of(batch, _own(batch), self.hardest) if own else _in_batch(batch, self.hardest)
        mixes = Mixes.joined([_pairs(batch, pool, self.pairs, uniforms), _with_query(batch, pool, self.with_query)])
        return self.loss(with_mixes(batch, mixes, own=own, margin=self.margin, detach=self.detach))


def _own(batch: Batch) -> Ragged:
    """Per query: its own negatives that cannot be relevant to it, each once, by id."""
    size = len(batch.documents)
    pairs = batch.negatives.rows * size + batch.negatives.values
    pairs = pairs[~torch.isin(pairs, batch.excluded.rows * size + batch.excluded.values)]
    return _by_id(batch, pairs // size, pairs % size)


@torch.no_grad()
def _in_batch(batch: Batch, number: int) -> Ragged:
    """Per query: the documents that it scores highest of those that cannot be relevant to it, by id."""
    parts = []
    every = torch.arange(len(batch.queries), device=batch.queries.device)
    for rows in torch.split(every, batch.tile or len(batch)):
        scores = batch.queries[rows] @ batch.documents.T
        out = batch.excluded.take(rows)
        scores[out.rows, out.values] = -torch.inf
        best, columns = scores.topk(min(number, scores.shape[1]))
        found = best > -torch.inf
        parts.append((rows[found.nonzero()[:, 0]], columns[found]))
    return _by_id(batch, *(torch.cat(part) for part in zip(*parts, strict=True)))


def _by_id(batch: Batch, rows: Tensor, columns: Tensor) -> Ragged:
    """The columns of each row, each once, in the order of their ids."""
    order = batch.doc_ids.argsort()
    ranks = Ragged.sets(rows, order.argsort()[columns], count=len(batch.queries), limit=len(order))
    return Ragged(ranks.offsets, order[ranks.values])


@torch.no_grad()
def _hardest_of(batch: Batch, pool: Ragged, number: int) -> Ragged:
    """The `number` columns of each list that its query scores highest."""
    scores = (batch.queries[pool.rows] * batch.documents[pool.values]).sum(1)
    order = scores.argsort(descending=True, stable=True)
    order = order[pool.rows[order].argsort(stable=True)]
    place = torch.arange(len(order), device=order.device) - pool.offsets[pool.rows]
    lengths = pool.lengths.clamp(max=number)
    kept = order[place < number].sort().values
    return Ragged(torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]), pool.values[kept])


def _pairs(batch: Batch, pool: Ragged, count: int, draw: Callable[..., Tensor]) -> Mixes:
    """`count` mixes of two different columns for each list that has two."""
    rows, numbers = _each(pool.lengths >= 2, count)
    keys, sizes = (batch.seed, batch.query_ids[rows], numbers), pool.lengths[rows]
    first = places(sizes, *keys, _FIRST)
    second = (first + 1 + places(sizes - 1, *keys, _SECOND)) % sizes
    parents = pool.values[(pool.offsets[rows][:, None] + torch.stack([first, second], dim=1)).flatten()]
    weights = draw(*keys, _WEIGHT, dtype=batch.documents.dtype)
    children = torch.arange(len(rows), device=rows.device).repeat_interleave(2)
    return Mixes(
        rows, torch.zeros_like(weights), children, parents, torch.stack([weights, 1 - weights], dim=1).flatten()
    )


def _with_query(batch: Batch, pool: Ragged, count: int) -> Mixes:
    """`count` mixes of a column and the query for each list that has one."""
    rows, numbers = _each(pool.lengths >= 1, count)
    keys = (batch.seed, batch.query_ids[rows], numbers)
    parents = pool.values[pool.offsets[rows] + places(pool.lengths[rows], *keys, _PARTNER)]
    shares = uniforms(*keys, _SHARE, dtype=batch.documents.dtype) / 2
    return Mixes(rows, shares, torch.arange(len(rows), device=rows.device), parents, 1 - shares)


def _each(chosen: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Every chosen row `count` times, and the numbers 0 to `count` − 1 for each."""
    rows = chosen.nonzero()[:, 0]
    return rows.repeat_interleave(count), torch.arange(count, device=rows.device).repeat(len(rows))
