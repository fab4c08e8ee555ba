"""The queries that two systems differ on most."""

from collections.abc import Sequence
from dataclasses import dataclass

from embedkit.evaluation.comparing.pairing import Paired


@dataclass(frozen=True)
class Changed:
    """A query's values."""

    task: str
    query_id: str
    base: float
    candidate: float

    @property
    def difference(self) -> float:
        """Candidate less baseline."""
        return self.candidate - self.base


def changed(pairs: Sequence[Paired], most: int) -> tuple[list[Changed], list[Changed]]:
    """Up to `most` queries that fell furthest and as many that rose furthest, over all tasks that have queries.

    Of equal changes the lower final value first where they fell, the lower former value where they rose: a query that
    is now lost, or newly found.
    """
    rows = [
        Changed(pair.task, query, float(base), float(candidate))
        for pair in pairs
        if pair.targets is None
        for query, base, candidate in zip(pair.ids, pair.base, pair.candidate, strict=True)
        if base != candidate
    ]
    order = sorted(rows, key=lambda row: (row.difference, min(row.base, row.candidate), row.task, row.query_id))
    fell = [row for row in order if row.difference < 0][:most]
    rose = sorted(
        (row for row in order if row.difference > 0),
        key=lambda row: (-row.difference, min(row.base, row.candidate), row.task, row.query_id),
    )[:most]
    return fell, rose
