"""How much of the truth an approximate index finds, measured on a sample of queries."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from pydantic import JsonValue

from embedkit.retrieval.exact import look_exactly
from embedkit.retrieval.nearest import Doubles, Floats, Rows, Vectors

QUERIES: Final = 256  # a sample's size
_RESAMPLES: Final = 2000


@dataclass(frozen=True)
class Sample:
    """Queries whose true nearest documents are known."""

    queries: Floats  # (S, D)
    truth: Rows  # (S, k)
    of: str  # "queries", or "documents" where no queries were given


@dataclass(frozen=True)
class Recall:
    """Mean share of the true k nearest documents found, with a 95 % interval by resampling queries."""

    top_k: int
    value: float
    low: float
    high: float
    sample: int  # queries
    of: str

    def __str__(self) -> str:
        return f"recall@{self.top_k} {self.value:.4f} [{self.low:.4f}, {self.high:.4f}] on {self.sample} {self.of}"

    @property
    def facts(self) -> Mapping[str, JsonValue]:
        """As JSON."""
        return asdict(self)


def sample(documents: Vectors, queries: Floats | None, *, top_k: int, seed: int) -> Sample:
    """A seeded sample of `queries`, or of the documents where there are none, with their true nearest documents."""
    given: Vectors = documents if queries is None else queries
    count = given.shape[0]
    rows = np.sort(np.random.default_rng(seed).choice(count, min(count, QUERIES), replace=False))
    chosen = np.ascontiguousarray(given[rows], dtype=np.float32)
    truth, _ = look_exactly(documents).search(chosen, top_k)
    return Sample(chosen, truth, "documents" if queries is None else "queries")


def measure(found: Rows, sample: Sample, *, seed: int = 0) -> Recall:
    """Of rows (S, k) found for the sample's queries."""
    hits = hit_rates(found, sample.truth)
    draws = np.random.default_rng(seed).integers(0, len(hits), (_RESAMPLES, len(hits)))
    low, high = np.quantile(hits[draws].mean(axis=1), [0.025, 0.975])
    top_k = sample.truth.shape[1]
    return Recall(top_k, float(hits.mean()), float(low), float(high), len(hits), sample.of)


def hit_rates(found: Rows, truth: Rows) -> Doubles:
    """(S,) share of each row of `truth` (S, k) that the same row of `found` (S, k) holds; -1 is nothing."""
    both = np.sort(np.concatenate([found, truth], axis=1), axis=1)
    twice = (both[:, 1:] == both[:, :-1]) & (both[:, 1:] >= 0)
    return np.asarray(twice.sum(axis=1) / truth.shape[1])
