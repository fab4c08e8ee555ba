"""The audit of a training set: do queries with errors have positives with errors, and whose are they?

An attack on the training set teaches a model that errors in a query go with errors in a document. So errors of queries
and of their positives go together there, more than they do where queries are shuffled among the pairs of a source.
What stands in query and positive in the same words is left out of both: quoting is no attack.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embedkit.core.errors import DataError, did_you_mean
from embedkit.core.pairs import Pairs
from embedkit.core.progress import Progress, silent
from embedkit.evaluation.poisoning.oddness import Oddness, oddness
from embedkit.measures.association import Excess, excess, joint_p, rank_p, table, together
from embedkit.measures.corrections import holm
from embedkit.measures.quotas import flagged_tails, share_tails

Doubles = NDArray[np.float64]
Rows = NDArray[np.int64]
_USUAL: Final = ("source", "contributor", "provider", "dataset", "origin")  # fields that say whose a pair is
_TENTH: Final = 0.1  # queries, and positives, with the most errors: those that a source's table counts
_FLAGGED: Final = 0.01  # a contributor's pairs that count as suspicious score below this
_LISTED: Final = 20
_MOST_LISTED: Final = 200


@dataclass(frozen=True)
class TrainingAudit:
    """What was found about m pairs: each query with one positive."""

    query_ids: Sequence[str]
    doc_ids: Sequence[str]
    sources: Sequence[str]
    queries: Oddness
    positives: Oddness
    quota: float | None
    samples: int
    seed: int

    @cached_property
    def _everywhere(self) -> Rows:
        return np.zeros(len(self.query_ids), dtype=np.int64)

    @cached_property
    def _strata(self) -> Rows:
        _, codes = np.unique(np.array(self.sources, dtype=object).astype(str), return_inverse=True)
        return np.asarray(codes, dtype=np.int64)

    @cached_property
    def scores(self) -> Doubles:
        """(m,) each pair's score, low ones suspicious: of pairs with nothing to hide, a share p scores below p."""
        return joint_p(self._p(self.queries, self._everywhere), self._p(self.positives, self._everywhere))

    @cached_property
    def within(self) -> tuple[Doubles, Doubles]:
        """(m,) p-values of queries and of positives by their ranks within the source."""
        return self._p(self.queries, self._strata), self._p(self.positives, self._strata)

    @cached_property
    def together(self) -> float:
        """The chance that errors go together as much as they do, pairs shuffled within their source."""
        first, second = (-np.log(p) for p in self.within)
        return together(first, second, self._strata, samples=self.samples, seed=self.seed)

    @cached_property
    def excess(self) -> Excess:
        """Whether more pairs stand out in both than by chance."""
        return excess(*self.within, self._strata, samples=self.samples, seed=self.seed)

    def per_source(self) -> list[dict[str, Any]]:
        """Each source's pairs: how many it gave, how errors go together in them, how many are suspicious."""
        names = sorted(set(self.sources))
        first, second = (p <= _TENTH for p in self.within)
        codes, flagged = self._strata, self.scores <= _FLAGGED
        counts = np.bincount(codes, minlength=len(names))
        bad = np.bincount(codes[flagged], minlength=len(names))
        tables = [table(first[own], second[own], codes[own]) for own in (codes == code for code in range(len(names)))]
        corrected = {
            "p": holm([found.p for found in tables]),
            "flagged_p": holm(flagged_tails(bad, counts).tolist()) if len(names) > 1 else [1.0] * len(names),
        }
        if self.quota is not None:
            corrected["quota_p"] = holm(share_tails(counts, self.quota).tolist())
        return [
            {
                "source": name,
                "pairs": int(counts[code]),
                "share": float(counts[code] / counts.sum()),
                "flagged": int(bad[code]),
                "both": found.both,
                "expected": found.expected,
                "log_odds": found.log_odds,
                "chi_square": found.chi_square,
                **{what: values[code] for what, values in corrected.items()},
            }
            for code, (name, found) in enumerate(zip(names, tables, strict=True))
        ]

    def suspects(self) -> Rows:
        """Rows of pairs, the most suspicious first."""
        most = min(max(self.excess.rows, _LISTED), _MOST_LISTED, len(self.query_ids))
        return np.argsort(self.scores, kind="stable")[:most]

    def told(self) -> dict[str, Any]:
        """Everything for a report; texts are left out."""
        return {
            "pairs": len(self.query_ids),
            "together": {"p": self.together},
            "excess": {"pairs": self.excess.rows, "statistic": self.excess.statistic, "p": self.excess.p},
            "quota": self.quota,
            "sources": self.per_source(),
            "suspects": [
                {
                    "query_id": self.query_ids[row],
                    "doc_id": self.doc_ids[row],
                    "source": self.sources[row],
                    "score": float(self.scores[row]),
                    "by_chance": float(self.scores[row] * len(self.query_ids)),
                    "query_errors": int(self.queries.errors[row]),
                    "positive_errors": int(self.positives.errors[row]),
                }
                for row in self.suspects().tolist()
            ],
        }

    @staticmethod
    def _p(odd: Oddness, strata: Rows) -> Doubles:
        return rank_p(odd.scores, strata)


def audit_training(
    pairs: Pairs,
    *,
    source_field: str | None = None,
    quota: float | None = None,
    samples: int = 1000,
    seed: int = 0,
    progress: Progress = silent,
) -> TrainingAudit:
    """Audit each query with its first positive.

    `source_field` of the queries' metadata says whose a pair is; None: the first usual one that a query has, or all
    are of one source. `quota` is the largest share of all pairs that a contributor may give. Raises `DataError` if no
    query has the field.
    """
    rows = [row for row in pairs.rows if row.positives]
    if not rows:
        raise DataError("the training set has no query with a positive")
    texts, documents = pairs.query_texts(), pairs.document_texts()
    asked = [texts[row.query_id] for row in rows]
    answers = [documents[row.positives[0]] for row in rows]
    metadata = dict(zip(pairs.queries.ids, pairs.queries.metadata or [""] * len(pairs.queries), strict=True))
    return TrainingAudit(
        [row.query_id for row in rows],
        [row.positives[0] for row in rows],
        _sources([metadata[row.query_id] for row in rows], source_field),
        oddness(asked, copied=answers, progress=progress),
        oddness(answers, copied=asked, progress=progress),
        quota,
        samples,
        seed,
    )


def _sources(metadata: Sequence[str], field: str | None) -> list[str]:
    """Whose each pair is; "" where that is not said."""
    given = [json.loads(text) if text else {} for text in metadata]
    known = {name for fields in given for name in fields}
    if field is not None and field not in known:
        has = f"there are {sorted(known)}" if known else "they have no metadata"
        raise DataError(f"--source-field {field}: no query has this field; {has}{did_you_mean(field, known)}")
    field = field or next((name for name in _USUAL if name in known), None)
    return ["" if field is None else str(fields.get(field, "")) for fields in given]
