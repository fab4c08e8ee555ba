"""The audit of a corpus with a model: are there documents that errors in queries bring up, and do they have errors?

Two things are held against each other, document by document: how odd its English is (the text alone, no model), and
how much errors in queries bring it nearer (the model alone, whatever is in the text). In a corpus that nobody attacked
with a model that was not prepared, they have little to do with each other; documents of an attack stand out in both,
because that is how it works. Each is turned into a p-value by its rank among documents of like length, and the two
into the document's score: the chance of standing out as much in both, if they had nothing to do with each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embedkit.core.dataset import Dataset
from embedkit.core.progress import Progress, silent
from embedkit.evaluation.poisoning.clusters import clusters
from embedkit.evaluation.poisoning.oddness import Oddness, oddness
from embedkit.evaluation.poisoning.probe import DEPTH, Encoder, Found, Probe, look
from embedkit.measures.association import Excess, excess, joint_p, rank_p
from embedkit.measures.hubness import (
    Change,
    Gains,
    change,
    gains,
    gini,
    largest_gain,
    occurrences,
    skewness,
    top_share,
)

Doubles = NDArray[np.float64]
Rows = NDArray[np.int64]
LENGTHS: Final = 5  # groups of documents of like length
LISTED: Final = 20  # suspects at least, however many stand out
MOST_LISTED: Final = 200
HUBS: Final = 10  # that are listed
LEAST_GAIN: Final = 5  # lists a document must win to be more than the luck of a few


@dataclass(frozen=True)
class CorpusAudit:
    """What was found about n documents with Q queries."""

    doc_ids: Sequence[str]
    texts: Sequence[str]
    probe: Probe
    found: Found
    odd: Oddness
    samples: int
    seed: int

    @cached_property
    def lengths(self) -> Rows:
        """(n,) group of like length."""
        return length_groups(self.odd.words)

    @cached_property
    def text_p(self) -> Doubles:
        """(n,) by oddness of the text."""
        return rank_p(self.odd.scores, self.lengths)

    @cached_property
    def model_p(self) -> Doubles:
        """(n,) by what errors in queries do to the document's scores."""
        return rank_p(self.found.pull, self.lengths)

    @cached_property
    def scores(self) -> Doubles:
        """(n,) each document's score: of documents with nothing to hide, a share p scores below p."""
        return joint_p(self.text_p, self.model_p)

    @cached_property
    def gains(self) -> Gains:
        """Lists that documents win and lose by the errors."""
        return gains(self.found.plain, self.found.perturbed, len(self.doc_ids))

    @cached_property
    def excess(self) -> Excess:
        """Whether more documents stand out in both than by chance."""
        return excess(self.text_p, self.model_p, self.lengths, samples=self.samples, seed=self.seed)

    @cached_property
    def largest_gain(self) -> tuple[int, float]:
        """The most lists that one document wins by errors, net, and the chance of that; 1 below `LEAST_GAIN`.

        Any damage to a query brings some documents up that are near to everything. So the chance is that against the
        queries as they are, or against those with slips of the hand, whichever is larger.
        """
        found, n = self.found, len(self.doc_ids)
        tests = [
            largest_gain(other, found.perturbed, n, samples=self.samples, seed=self.seed)
            for other in (found.plain, found.control)
        ]
        return tests[0][0], 1.0 if tests[0][0] < LEAST_GAIN else max(p for _, p in tests)

    @cached_property
    def hubness(self) -> Mapping[str, Change]:
        """How much the lists are taken by a few, before and after."""
        lists, n = (self.found.plain, self.found.perturbed), len(self.doc_ids)
        statistics = {"skewness": skewness, "gini": gini, "top_share": top_share}
        return {
            name: change(*lists, n, statistic, samples=self.samples, seed=self.seed)
            for name, statistic in statistics.items()
        }

    def suspects(self) -> Rows:
        """Rows of documents, the most suspicious first: all that stand out together, and some to read in any case."""
        most = min(max(self.excess.rows, LISTED), MOST_LISTED, len(self.doc_ids))
        return np.lexsort((-self.found.pull, self.scores))[:most]

    def hubs(self) -> list[dict[str, Any]]:
        """The documents that are in the most lists of queries with errors, and in how many of queries as they are."""
        n = len(self.doc_ids)
        before, after = (occurrences(rows, n) for rows in (self.found.plain, self.found.perturbed))
        return [
            {"doc_id": self.doc_ids[row], "plain": int(before[row]), "perturbed": int(after[row])}
            for row in np.argsort(-after, kind="stable")[:HUBS].tolist()
            if after[row]
        ]

    def told(self) -> dict[str, Any]:
        """Everything for a report; texts are left out."""
        suspects = self.suspects()
        groups = clusters([self.texts[row] for row in suspects.tolist()])
        most, p = self.largest_gain
        median = np.median(self.found.ranks, axis=0).tolist() if len(self.found.ranks) else [None, None]
        return {
            "documents": len(self.doc_ids),
            "queries": len(self.probe.ids),
            "errors_per_query": self.probe.edits / len(self.probe.ids),
            "k": self.found.plain.shape[1],
            "hubness": {name: vars(found) for name, found in self.hubness.items()},
            "hubs": self.hubs(),
            "ranks": {"judged": len(self.found.ranks), "plain": median[0], "perturbed": median[1], "deepest": DEPTH},
            "excess": {"documents": self.excess.rows, "statistic": self.excess.statistic, "p": self.excess.p},
            "largest_gain": {"lists": most, "doc_id": self.doc_ids[int(np.argmax(self.gains.net))], "p": p},
            "suspects": [self._suspect(row, group) for row, group in zip(suspects.tolist(), groups, strict=True)],
        }

    def _suspect(self, row: int, group: int | None) -> dict[str, Any]:
        words = int(self.odd.words[row])
        return {
            "doc_id": self.doc_ids[row],
            "score": float(self.scores[row]),
            "by_chance": float(self.scores[row] * len(self.doc_ids)),
            "text_p": float(self.text_p[row]),
            "model_p": float(self.model_p[row]),
            "words": words,
            "errors": int(self.odd.errors[row]),
            "won": int(self.gains.won[row]),
            "lost": int(self.gains.lost[row]),
            "cluster": group,
        }


def audit_corpus(
    dataset: Dataset,
    encoder: Encoder,
    *,
    k: int = 10,
    queries: int = 1000,
    rate: float = 0.1,
    samples: int = 1000,
    seed: int = 0,
    progress: Progress = silent,
) -> CorpusAudit:
    """Audit the documents of a dataset with its queries.

    `rate` errors a word are put into at most `queries` of them; each counts with the `k` best documents that are not
    relevant to it. Every p-value is of `samples` draws. Raises `DataError` if no query has a place for an error.
    """
    probe = Probe.draw(dataset, queries=queries, rate=rate, seed=seed)
    found = look(probe, dataset, encoder, k=k, progress=progress)
    texts = dataset.corpus.full_texts()
    odd = oddness(texts, progress=progress)
    return CorpusAudit(dataset.corpus.ids, texts, probe, found, odd, samples, seed)


def length_groups(words: Rows) -> Rows:
    """(n,) 0 to LENGTHS - 1: groups of texts of like length, shorter ones first, as equal in number as can be."""
    groups = np.empty(len(words), dtype=np.int64)
    for number, rows in enumerate(np.array_split(np.argsort(words, kind="stable"), LENGTHS)):
        groups[rows] = number
    return groups
