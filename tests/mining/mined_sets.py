"""Mined sets made up for tests, written as the mine stage writes them, and read back in plain loops."""

import json

import numpy as np
import pyarrow.parquet as pq

from embedkit.core.pairs import Pair, write_pair_rows
from embedkit.core.records import Corpus, Queries, write_corpus, write_queries
from embedkit.mining.audit import Rules
from embedkit.mining.fates import CANDIDATES, candidate_table
from embedkit.mining.filters import NONE, Candidates, PercentOfPositive
from embedkit.mining.miner import choose_negatives
from embedkit.mining.sampling import Top

RULES = Rules(filters=(PercentOfPositive(),), count=4, sampling=Top())


def texts(n: int, word: str) -> list[str]:
    """Texts that share no three words."""
    return [" ".join(f"{word}{i}x{j}" for j in range(12)) for i in range(n)]


def write_set(folder, scores, positives, *, width: int, rules: Rules = RULES, documents=None, queries=None) -> None:
    """A mined set of (Q, N) scores: each query's `width` best documents are candidates, `rules` choose among them."""
    folder.mkdir(parents=True, exist_ok=True)
    scores = np.asarray(scores, dtype=np.float32)
    size, corpus = scores.shape
    doc_ids, query_ids = [f"d{i}" for i in range(corpus)], [f"q{i}" for i in range(size)]
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :width]
    given = Candidates(
        query_ids=query_ids,
        rows=rows,
        scores={"encoder": np.take_along_axis(scores, rows, axis=1)},
        positives={"encoder": [scores[q, own] for q, own in enumerate(positives)]},
        excluded={"known_positive": np.array([np.isin(rows[q], own) for q, own in enumerate(positives)])},
    )
    choice = choose_negatives(given, rules.filters, count=rules.count, sampling=rules.sampling)
    pairs = []
    for q, own in enumerate(positives):
        columns = [c for c in choice.columns[q] if c != NONE]
        ids = tuple(doc_ids[d] for d in own)
        pairs.append(
            Pair(
                query_ids[q],
                ids,
                known=ids,
                negatives=tuple(doc_ids[given.rows[q, c]] for c in columns),
                positive_scores=tuple(scores[q, own].tolist()),
                negative_scores=tuple(given.scores["encoder"][q, columns].tolist()),
                negative_ranks=tuple(given.ranks[q, columns].tolist()),
            )
        )
    write_pair_rows(folder, pairs)
    pq.write_table(candidate_table(given, choice, doc_ids), folder / CANDIDATES)
    write_corpus(folder, Corpus(doc_ids, [""] * corpus, documents or texts(corpus, "doc")))
    write_queries(folder, Queries(query_ids, queries or texts(size, "query")))


def random_set(folder, seed: int, *, queries: int = 40, documents: int = 60, rules: Rules = RULES) -> None:
    """Scores of both signs, one to four positives a query, most of them high, some documents liked by all queries."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0.1, 0.25, (queries, documents)) + rng.exponential(0.05, documents)
    positives = [rng.choice(documents, rng.integers(1, 5), replace=False) for _ in range(queries)]
    for query, own in enumerate(positives):
        scores[query, own] += rng.uniform(0.1, 1.0, len(own))
    write_set(folder, scores, positives, width=20, rules=rules)


def write_manifest(folder, rules: Rules = RULES) -> None:
    """What the store would say of how the set was mined."""
    fields = {"filters": [rule.model_dump() for rule in rules.filters], "negatives": rules.count}
    spec = {"spec": {**fields, "sampling": rules.sampling.model_dump()}}
    empty = {name: {} for name in ("inputs", "files", "made")}
    about = {"format": 1, "key": "0" * 64, "kind": "mine", "type": "pairs", "spec": spec, **empty}
    (folder / "manifest.json").write_text(json.dumps(about))


def pairs_in(folder) -> list[dict]:
    """Rows of pairs.parquet."""
    return pq.read_table(folder / "pairs.parquet").to_pylist()


def candidates_in(folder) -> list[dict]:
    """Rows of candidates.parquet."""
    return pq.read_table(folder / CANDIDATES).to_pylist()
