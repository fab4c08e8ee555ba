"""Filters that look at what documents and queries are to each other, not at how well they match.

Where there is nothing to compare with (no positive, no group, no owner), their signals are NaN: no evidence that the
candidate is relevant, so it is kept.
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from embedkit.mining.filters.base import Candidates, Filter, Mask


class NearDuplicate(Filter):
    """Drop candidates that nearly are a positive of the query.

        drop n  iff  s(n) ≥ threshold

    s is `positive_similarity`, the highest cosine of the miner's vectors of the candidate and of a positive, or
    `positive_overlap`, the highest Jaccard similarity of their sets of three-word shingles: near 1 for texts that are
    equal but for a few words. A query without positives keeps everything.
    """

    kind: Literal["near_duplicate"] = "near_duplicate"
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.95
    signal: Literal["positive_similarity", "positive_overlap"] = "positive_similarity"

    @property
    def signals(self) -> tuple[str, ...]:
        return (self.signal,)

    def __call__(self, candidates: Candidates) -> Mask:
        return ~self.suspects(candidates)

    def suspects(self, candidates: Candidates) -> Mask:
        mask: Mask = candidates.signal(self.signal) >= self.threshold
        return mask


class SameGroup(Filter):
    """Drop candidates of the document group of a positive: other parts of the same page, book or thread.

    The stage's `groups` says what a document's group is; a document without one is kept.
    """

    kind: Literal["same_group"] = "same_group"

    @property
    def signals(self) -> tuple[str, ...]:
        return ("same_group",)

    def __call__(self, candidates: Candidates) -> Mask:
        return ~self.suspects(candidates)

    def suspects(self, candidates: Candidates) -> Mask:
        mask: Mask = candidates.signal("same_group") > 0
        return mask


class Owners(Filter):
    """Drop candidates that are a positive of a query much like this one: its *owners* are the queries of the split
    that it, or a document of the same text, is judged relevant to.

        drop n  iff  max over owners o of n of cos(q, o) > maximum

    A document that answers a question like this one may answer this one; one that answers another question only is
    hard without being relevant. That look at the owners is SaHa's (see `SaHa`); to hold it against a fixed threshold is
    ours. Documents without owners are judged by other filters: `unowned` keeps or drops them all.
    """

    kind: Literal["owners"] = "owners"
    maximum: Annotated[float, Field(ge=-1, le=1)] = 0.8
    unowned: Literal["keep", "drop"] = "keep"

    @property
    def signals(self) -> tuple[str, ...]:
        return ("owner_similarity",)

    def __call__(self, candidates: Candidates) -> Mask:
        keeps = ~self.suspects(candidates)
        return keeps if self.unowned == "keep" else keeps & ~np.isnan(candidates.signal("owner_similarity"))

    def suspects(self, candidates: Candidates) -> Mask:
        mask: Mask = candidates.signal("owner_similarity") > self.maximum
        return mask


class SaHa(Filter):
    """Of the best `pool` candidates keep the `keep` whose owners are least like the query; drop what ranks below.

    A candidate's owners are as in `Owners`; of several the one most like the query counts. Equal similarities are taken
    by rank. In the authors' data every document has an owner. Where that is not so, documents of the pool without one
    are all kept, or all dropped, and `keep` counts the others. Their batches, which hold the owners' own pairs
    together, are not made here. Reference: https://arxiv.org/abs/2508.00955.
    """

    kind: Literal["saha"] = "saha"
    pool: PositiveInt = 45
    keep: PositiveInt = 15
    unowned: Literal["keep", "drop"] = "keep"

    @model_validator(mode="after")
    def _check(self) -> "SaHa":
        if self.keep > self.pool:
            raise ValueError(f"keep is {self.keep}, more than the pool of {self.pool}")
        return self

    @property
    def signals(self) -> tuple[str, ...]:
        return ("owner_similarity",)

    def __call__(self, candidates: Candidates) -> Mask:
        pool = (candidates.ranks >= 1) & (candidates.ranks <= self.pool)
        unowned = pool & np.isnan(candidates.signal("owner_similarity"))
        chosen = pool & ~unowned & ~self.suspects(candidates)
        return chosen | unowned if self.unowned == "keep" else chosen

    def suspects(self, candidates: Candidates) -> Mask:
        similarity = candidates.signal("owner_similarity")
        pool = (candidates.ranks >= 1) & (candidates.ranks <= self.pool) & ~np.isnan(similarity)
        order = np.argsort(np.where(pool, similarity, np.inf), axis=1, kind="stable")
        places = np.empty_like(order)
        np.put_along_axis(places, order, np.arange(order.shape[1])[None, :], axis=1)
        mask: Mask = pool & (places >= self.keep)
        return mask
