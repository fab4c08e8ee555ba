"""The full vectors and all variants on the same queries: what each finds, what that is worth, how long it takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch

from embedkit.core.columns import places
from embedkit.core.progress import Progress, silent
from embedkit.evaluation.compression.figures import Found, Judged, Resampling, compare, front, sizes
from embedkit.evaluation.compression.searches import Search
from embedkit.evaluation.compression.timing import clock
from embedkit.measures.ranking import PerQuery, parse_metric
from embedkit.retrieval.nearest import Floats

TIMED: Final = 1000  # queries at most


@dataclass(frozen=True)
class Contest:
    """Searches by name, that of the full vectors first; `queries` (Q, D) are those of `judged`, in its order.

    Rankings are as deep as the deepest of `metrics` and `overlaps` asks for; the first of `metrics` decides. With
    `ignore_identical_ids` no ranking holds the document that has the query's id.
    """

    searches: Mapping[str, Search]
    queries: Floats
    judged: Judged
    metrics: Sequence[str]
    overlaps: Sequence[int]
    ignore_identical_ids: bool = False

    @property
    def documents(self) -> int:
        """N."""
        return len(self.judged.doc_ids)

    @property
    def depth(self) -> int:
        """Documents that are ranked for a query."""
        wanted = max([*(parse_metric(metric)[1] for metric in self.metrics), *self.overlaps])
        return min(self.documents - self.ignore_identical_ids, wanted)

    @property
    def cuts(self) -> list[int]:
        """Those of `overlaps` that not every ranking fulfils."""
        return [k for k in self.overlaps if k < self.documents - self.ignore_identical_ids]

    def values(self, progress: Progress = silent) -> dict[str, PerQuery]:
        """variant -> query_id -> metric -> value, `overlap@k` among the metrics."""
        values: dict[str, PerQuery] = {}
        full: Found | None = None
        with progress("search", len(self.searches)) as advance:
            for name, search in self.searches.items():
                found = self._found(search)
                full = full or found
                values[name] = self.judged.measure(found, full, self.metrics, self.cuts)
                advance(1)
        return values

    def _found(self, search: Search) -> Found:
        if not self.ignore_identical_ids:
            return Found(*search.best(self.queries, self.depth))
        own = places(self.judged.doc_ids, self.judged.query_ids)
        return Found(*search.best(self.queries, self.depth + 1)).without(own)

    def rows(self, values: Mapping[str, PerQuery], how: Resampling) -> list[dict[str, Any]]:
        """A row a variant, as stats.json has it: name, bytes, metrics, and whether it is on the front."""
        full = next(iter(values.values()))
        judged = {query: {metric: row[metric] for metric in self.metrics} for query, row in full.items()}
        rows: list[dict[str, Any]] = [
            {"name": name, "bytes": sizes(search, self.documents), "metrics": compare(values[name], judged, how)}
            for name, search in self.searches.items()
        ]
        deciding = self.metrics[0]
        best = front([(row["bytes"]["document"], row["metrics"][deciding]["mean"]) for row in rows])
        return [{**row, "front": on} for row, on in zip(rows, best, strict=True)]

    def times(self, rounds: int, progress: Progress = silent) -> dict[str, Any]:
        """speed.json: how long the searches take on this machine, now."""
        asked = self.queries[:TIMED]
        work = {name: partial(search.look, asked, self.depth) for name, search in self.searches.items()}
        return {
            "queries": len(asked),
            "documents": self.documents,
            "top_k": self.depth,
            "rounds": rounds,
            "threads": sorted({1, torch.get_num_threads()}),
            "seconds_per_1000_queries": clock(work, queries=len(asked), rounds=rounds, progress=progress),
        }
