"""What filters are given, and what they must return. Pure NumPy."""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from embedkit.core.errors import DataError, did_you_mean
from embedkit.core.spec import Spec

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]
Scores = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]
Verdicts = NDArray[np.int16]
PositiveReference = Literal["min", "max", "mean", "own"]
NONE: Final = -1  # a place that holds no document


@dataclass(frozen=True)
class Candidates:
    """What was retrieved for Q queries, best first, and what is known of it.

    A *signal* is a way to score a document for a query; "encoder" is the model that retrieved the candidates. Every
    signal scores the candidates and each query's positives. `excluded` says, by reason, which candidates may never be
    negatives: known positives before all. `found_by` says which retriever's list a candidate was on, if there were
    several. Raises `DataError` unless all shapes agree.
    """

    query_ids: Sequence[str]  # Q
    rows: Rows  # (Q, K) rows of the corpus, -1 where a query has fewer
    scores: Mapping[str, Scores]  # signal -> (Q, K)
    positives: Mapping[str, Sequence[Scores]]  # signal -> per query, the scores of its positives, most relevant first
    excluded: Mapping[str, Mask]  # reason -> (Q, K)
    found_by: Mapping[str, Mask] = field(default_factory=dict)  # retriever -> (Q, K)

    def __post_init__(self) -> None:
        shapes = {"rows": self.rows.shape, **{f"scores of {name}": s.shape for name, s in self.scores.items()}}
        shapes |= {f"excluded as {reason}": mask.shape for reason, mask in self.excluded.items()}
        shapes |= {f"found by {name}": mask.shape for name, mask in self.found_by.items()}
        lengths = {f"positives of {name}": len(lists) for name, lists in self.positives.items()}
        expected = (len(self.query_ids), *self.rows.shape[1:])
        for what, found in (*shapes.items(), *((k, (n, *expected[1:])) for k, n in lengths.items())):
            if found != expected:
                raise DataError(f"candidates: {what} have shape {found}; (queries, candidates) is {expected}")

    @cached_property
    def eligible(self) -> Mask:
        """(Q, K), True for documents that nothing excludes."""
        mask: Mask = self.rows != NONE
        for excluded in self.excluded.values():
            mask &= ~excluded
        return mask

    @cached_property
    def ranks(self) -> Rows:
        """(Q, K) 1-based rank among the query's eligible candidates; 0 for all others."""
        return np.where(self.eligible, np.cumsum(self.eligible, axis=1), 0)

    def signal(self, name: str) -> Scores:
        """(Q, K) scores by this signal; a `DataError` if there are none."""
        if name not in self.scores:
            known = sorted(self.scores)
            raise DataError(f"signal {name!r}: nothing scored it; there are {known}{did_you_mean(name, known)}")
        return self.scores[name]

    def reference(self, signal: str, how: PositiveReference) -> Doubles:
        """(Q,) the positive score that a query's candidates are held against; NaN for a query without positives.

        `own` is the first positive, the most relevant one: the one a training row of that query is made of.
        """
        self.signal(signal)
        lists = self.positives[signal]
        lengths = np.array([len(scores) for scores in lists], dtype=np.int64)
        flat = np.concatenate([*lists, np.empty(0)]).astype(np.float64)
        result = np.full(len(lists), np.nan)
        some = lengths > 0
        if some.any():
            result[some] = _reduced(flat, lengths[some], how)
        return result


class Filter(Spec, abc.ABC):
    """Says which candidates may be negatives. Pure: the same candidates give the same mask."""

    kind: str

    @property
    def signals(self) -> tuple[str, ...]:
        """The signals this filter looks at."""
        return ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """What a candidate's reason for being dropped may be called."""
        return (self.kind,)

    @abc.abstractmethod
    def __call__(self, candidates: Candidates) -> Mask:
        """(Q, K) mask, True where the candidate may be used."""

    def verdicts(self, candidates: Candidates) -> Verdicts:
        """(Q, K) the 1-based place in `reasons` of why a candidate is dropped; 0 where it may be used.

        Raises `DataError` if the filter gives something that is not a (Q, K) mask.
        """
        mask, right = self(candidates), candidates.rows.shape
        if mask.shape != right or mask.dtype != np.bool_:
            raise DataError(f"filter {self.kind}: gave {mask.dtype} {mask.shape}; bool {right} is right")
        return (~mask).astype(np.int16)

    def suspects(self, candidates: Candidates) -> Mask:
        """(Q, K) mask, True where the candidate is dropped because it may be relevant."""
        return np.zeros(candidates.rows.shape, dtype=np.bool_)


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names in order; one that comes again is numbered."""
    found: list[str] = []
    for name in names:
        number, unique = 2, name
        while unique in found:
            unique, number = f"{name}_{number}", number + 1
        found.append(unique)
    return tuple(found)


def _reduced(flat: Doubles, lengths: Rows, how: PositiveReference) -> Doubles:
    """One number a list, of lists laid end to end, none of them empty."""
    starts = np.cumsum(lengths) - lengths
    if how == "own":
        return np.asarray(flat[starts])
    if how == "mean":
        return np.asarray(np.add.reduceat(flat, starts) / lengths)
    return np.asarray((np.minimum if how == "min" else np.maximum).reduceat(flat, starts))
