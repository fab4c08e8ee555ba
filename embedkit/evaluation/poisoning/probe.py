"""Queries as they are, with errors and with slips of the hand, and what a model finds for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from embedkit.core.dataset import Dataset
from embedkit.core.errors import DataError
from embedkit.core.progress import Progress
from embedkit.evaluation.poisoning.injection import inject
from embedkit.evaluation.poisoning.typos import misspell
from embedkit.retrieval.exact import Exact
from embedkit.retrieval.identity import Task
from embedkit.retrieval.nearest import Floats, Vectors

Rows = NDArray[np.int64]
Doubles = NDArray[np.float64]
DEPTH: Final = 100  # documents that are looked at for each query
_READ: Final = 16_384  # documents at a time


class Encoder(Protocol):
    """What encodes the texts: `embedkit.retrieval.encoder.open_encoder` gives one."""

    def queries(self, texts: Sequence[str]) -> Floats:
        """(n, D) vectors of queries."""
        ...

    def stored(self, task: Task, texts: Sequence[str]) -> Vectors:
        """(n, D) vectors of documents, for the task "document"."""
        ...


@dataclass(frozen=True)
class Probe:
    """Q queries that errors could be put into."""

    ids: Sequence[str]
    plain: Sequence[str]
    perturbed: Sequence[str]
    control: Sequence[str]  # with as many slips of the hand as there are errors in `perturbed`
    edits: int  # errors in all of them

    @staticmethod
    def draw(dataset: Dataset, *, queries: int, rate: float, seed: int) -> "Probe":
        """At most so many queries, which ones depends on the seed and on their ids alone. Raises `DataError` if none
        of them has a place for an error."""
        order = sorted(range(len(dataset.queries)), key=lambda row: _lot(seed, dataset.queries.ids[row]))
        chosen = dict[str, tuple[str, str, str, int]]()
        for row in order:
            text = dataset.queries.texts[row]
            found = inject(text, rate=rate, seed=seed)
            if found.edits:
                slips = len(found.edits)
                chosen[dataset.queries.ids[row]] = text, found.text, misspell(text, slips=slips, seed=seed), slips
            if len(chosen) == queries:
                break
        if not chosen:
            raise DataError(f"none of {len(order)} queries has a place for a grammar error; are they in English?")
        plain, perturbed, control, edits = zip(*chosen.values(), strict=True)
        return Probe(tuple(chosen), plain, perturbed, control, sum(edits))


@dataclass(frozen=True)
class Found:
    """What a model finds for a probe in a corpus of n documents."""

    plain: Rows  # (Q, k) best documents that are not relevant to the query, -1 where there are no more
    perturbed: Rows  # (Q, k)
    control: Rows  # (Q, k)
    ranks: Rows  # (R, 2) rank of each judged query's first relevant document, for both; DEPTH + 1 if it is lower
    pull: Doubles  # (n,) how much nearer errors in the queries bring each document, as a mean of score differences


def look(probe: Probe, dataset: Dataset, encoder: Encoder, *, k: int, progress: Progress) -> Found:
    """Search the corpus with each query in its three forms, exactly."""
    documents = encoder.stored("document", dataset.corpus.documents())
    forms = [encoder.queries(texts) for texts in (probe.plain, probe.perturbed, probe.control)]
    searcher = Exact().open(documents, progress=progress)
    lists = [searcher.search(vectors, min(DEPTH, len(dataset.corpus)), progress)[0] for vectors in forms]
    relevant = _relevant(dataset, probe.ids)
    plain, perturbed, control = (
        np.array([_best(row, own, k) for row, own in zip(rows, relevant, strict=True)]) for rows in lists
    )
    judged = [(rows, own) for rows, own in zip(zip(*lists[:2], strict=True), relevant, strict=True) if own]
    ranks = np.array([[_rank(row, own) for row in rows] for rows, own in judged], dtype=np.int64).reshape(-1, 2)
    shift = (forms[1].astype(np.float64) - forms[0]).mean(axis=0)
    return Found(plain, perturbed, control, ranks, _products(documents, shift))


def _products(documents: Vectors, direction: Doubles) -> Doubles:
    parts = [documents[start : start + _READ] @ direction for start in range(0, documents.shape[0], _READ)]
    return np.concatenate(parts).astype(np.float64)


def _relevant(dataset: Dataset, queries: Sequence[str]) -> list[set[int]]:
    """Rows of the documents relevant to each query, by any split's judgements."""
    places = {doc: row for row, doc in enumerate(dataset.corpus.ids)}
    found = []
    for query in queries:
        judged: list[Mapping[str, int]] = [qrels[query] for qrels in dataset.qrels.values() if query in qrels]
        found.append({places[doc] for docs in judged for doc, grade in docs.items() if grade > 0 and doc in places})
    return found


def _best(row: Rows, relevant: set[int], k: int) -> list[int]:
    kept = [doc for doc in row.tolist() if doc not in relevant][:k]
    return kept + [-1] * (k - len(kept))


def _rank(row: Rows, relevant: set[int]) -> int:
    return next((rank for rank, doc in enumerate(row.tolist(), 1) if doc in relevant), DEPTH + 1)


def _lot(seed: int, query: str) -> bytes:
    return blake2b(f"{seed}\n{query}".encode(errors="replace"), digest_size=8).digest()
