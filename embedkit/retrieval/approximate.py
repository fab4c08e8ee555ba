"""What FAISS' approximate indexes share: they look as hard as a recall takes, and what they find is scored exactly."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from pydantic import JsonValue

from embedkit.core.progress import Progress, silent
from embedkit.retrieval.exact import check_lengths, longest_of, look_exactly
from embedkit.retrieval.nearest import SPARE, Floats, Rows, Vectors, best_of, dot_scores, lengths
from embedkit.retrieval.recall import Sample, hit_rates, measure, sample
from embedkit.retrieval.searcher import Searcher

logger = logging.getLogger(__name__)

_QUERIES: Final = 1024


class Approximate(Searcher):
    """A FAISS index. `effort` names what makes it look harder, `set_effort` sets it, up to `most`."""

    exact = False

    def __init__(
        self,
        documents: Vectors,
        index: Any,
        *,
        effort: str,
        set_effort: Callable[[int], None],
        least: int,
        most: int,
        facts: Mapping[str, JsonValue],
    ) -> None:
        super().__init__(documents)
        self._index, self._longest = index, longest_of(documents)
        self._name, self._set_effort, self._least, self._most = effort, set_effort, least, max(least, most)
        self._facts, self._compared, self._effort = dict(facts), 0, self._least

    @property
    def facts(self) -> Mapping[str, JsonValue]:
        return self._facts | {"searched_exactly": self._compared}

    def fit(self, queries: Floats | None, top_k: int, *, given: int | None, recall: float, seed: int) -> None:
        """Look as hard as `given`, or no harder than it takes for this recall, and measure the recall."""
        known = sample(self.documents, queries, top_k=min(top_k, self.documents.shape[0]), seed=seed)
        effort = min(given, self._most) if given else self._fewest(known, recall)
        self._effort = effort
        self._set_effort(effort)
        found, _ = self._search(known.queries, known.truth.shape[1], silent)
        measured = measure(found, known, seed=seed)
        self._compared = 0
        self._facts |= {self._name: effort, "recall": dict(measured.facts)}
        logger.info("%s on %s: %s %d, %s", self._facts["index"], self._facts["device"], self._name, effort, measured)
        if not given and measured.value < recall:
            self._facts["recall_wanted"] = recall
            logger.warning("%s: recall %.4f, not %.4f as wanted", self._facts["index"], measured.value, recall)

    def _fewest(self, known: Sample, recall: float) -> int:
        """The least effort that reaches `recall` on the sample, by doubling and halving; the most if none does."""

        def enough(effort: int) -> bool:
            self._set_effort(effort)
            found, _ = self._found(known.queries, known.truth.shape[1])
            return float(hit_rates(found, known.truth).mean()) >= recall

        high = self._least
        while high < self._most and not enough(high):
            high = min(2 * high, self._most)
        low = max(self._least, high // 2)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle + 1, high)
        return high

    def _search(self, queries: Floats, top_k: int, progress: Progress) -> tuple[Rows, Floats]:
        check_lengths(lengths(queries), self._longest)
        rows, scores = np.empty((len(queries), top_k), dtype=np.int64), np.empty((len(queries), top_k), np.float32)
        with progress("search", len(queries)) as advance:
            for start in range(0, len(queries), _QUERIES):
                part = slice(start, start + _QUERIES)
                rows[part], scores[part] = self._found(queries[part], top_k)
                advance(len(rows[part]))
        self._fill(queries, rows, scores, top_k)
        return rows, scores

    def _fill(self, queries: Floats, rows: Rows, scores: Floats, top_k: int) -> None:
        """Look harder, at last everywhere, for queries that came upon fewer documents than wanted."""
        effort = self._effort
        while len(short := np.flatnonzero((rows < 0).any(axis=1))) and effort < self._most:
            effort = min(4 * effort, self._most)
            self._set_effort(effort)
            rows[short], scores[short] = self._found(queries[short], top_k)
        self._set_effort(self._effort)
        if len(short):
            self._compared += len(short)
            rows[short], scores[short] = look_exactly(self.documents).search(queries[short], top_k)

    def _found(self, queries: Floats, top_k: int) -> tuple[Rows, Floats]:
        """The `top_k` best of what FAISS comes upon; row -1 where that is not enough."""
        _, found = self._index.search(queries, min(top_k + SPARE, self.documents.shape[0]))
        exact = dot_scores(queries, self.documents, np.maximum(found, 0))
        return best_of(found, np.where(found < 0, np.float32(-np.inf), exact), top_k)
