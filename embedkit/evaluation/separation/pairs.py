"""The pairs that separation is measured on, from a model's run: a query's relevant documents and its best others.

By the protocol of arXiv 2510.00137 (https://arxiv.org/abs/2510.00137, evaluation): per query all relevant documents,
wherever they rank, and the 500 best-scoring others of the whole corpus; pairs of all queries are pooled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from embedkit.core.errors import ArtifactError, DataError
from embedkit.measures.pairs import Codes, Flags, Floats

DEPTH: Final = 500  # other documents of a query


@dataclass(frozen=True)
class Scored:
    """n pairs, in order of their query and of falling score."""

    queries: Codes  # (n,) numbered from 0 in the order of the judgements
    scores: Floats  # (n,)
    relevant: Flags  # (n,)
    shallow: int  # queries with fewer than DEPTH others
    unscored: int  # relevant documents that have no score, neither in the run nor among the judged


def scored_parts(folder: Path) -> dict[str, Scored]:
    """The pairs of each part of a task_scores folder whose task ranks documents; empty if it does not.

    Raises `ArtifactError` if its tables cannot be read.
    """
    if not (folder / "run.parquet").is_file():
        return {}
    name = "judged.parquet" if (folder / "judged.parquet").is_file() else "qrels.parquet"
    try:
        judged = _read(folder / name, ["part", "query_id", "doc_id", "relevance", "score"])
        run = _read(folder / "run.parquet", ["part", "query_id", "doc_id", "score"])
        parts = judged.column("part").unique().to_pylist()
        return {part: scored_pairs(_of(run, part), _of(judged, part)) for part in parts}
    except (OSError, KeyError, pa.ArrowException) as error:
        raise ArtifactError(f"{folder}: its run cannot be read ({error}). Delete the folder to remake it.") from None


def scored_pairs(run: pa.Table, judged: pa.Table, *, depth: int = DEPTH) -> Scored:
    """The protocol's pairs of a `run` (query_id, doc_id, score) and the `judged` pairs (query_id, doc_id, relevance,
    and perhaps score: of documents that the run lacks). A document that both score has the run's score.

    Raises `DataError` if a pair is in one of them twice.
    """
    queries = pc.unique(judged.column("query_id").cast(pa.string()))
    documents = pc.unique(pa.concat_arrays([_encoded(table, "doc_id").dictionary for table in (judged, run)]))
    size = max(len(documents), 1)
    found = _codes(run, "query_id", queries)
    known = found >= 0  # of a query without judgements nothing can be told
    pair = found[known] * size + _codes(run, "doc_id", documents)[known]
    scores = np.asarray(run.column("score"), np.float64)[known]
    wanted = _codes(judged, "query_id", queries) * size + _codes(judged, "doc_id", documents)
    relevant = np.asarray(judged.column("relevance"), np.int64) > 0
    for name, codes in (("run", pair), ("judged", wanted)):
        if len(np.unique(codes)) < len(codes):
            raise DataError(f"{name}: has a pair of query and document twice; each must be there once")
    own = _scores(judged, wanted[relevant], relevant, pair, scores)
    unscored = int(np.isnan(own).sum())
    positives, own = wanted[relevant][~np.isnan(own)], own[~np.isnan(own)]
    other = ~np.isin(pair, wanted[relevant])
    pair, scores, enough = _best(pair[other], scores[other], size, depth)
    codes, values = np.r_[positives, pair] // size, np.r_[own, scores]
    flags = np.r_[np.ones(len(positives), bool), np.zeros(len(pair), bool)]
    order = np.lexsort((-values, codes))
    return Scored(codes[order], values[order], flags[order], len(queries) - enough, unscored)


def _scores(judged: pa.Table, positives: Codes, relevant: Flags, pair: Codes, scores: Floats) -> Floats:
    """The score of each relevant document: the run's, else the judged one, else NaN."""
    order = np.argsort(pair)
    at = np.minimum(np.searchsorted(pair, positives, sorter=order), max(len(pair) - 1, 0))
    own = np.full(len(positives), np.nan)
    if "score" in judged.column_names:
        own = np.asarray(pc.fill_null(judged.column("score").cast(pa.float64()), np.nan), np.float64)[relevant]
    if len(pair):
        place = order[at]
        own = np.where(pair[place] == positives, scores[place], own)
    return own


def _best(pair: Codes, scores: Floats, size: int, depth: int) -> tuple[Codes, Floats, int]:
    """The `depth` best of each query, equal scores in the order they came, and how many queries have so many."""
    queries = pair // size
    order = np.lexsort((-scores, queries))
    queries = queries[order]
    place = np.arange(len(queries)) - np.searchsorted(queries, queries, "left")
    kept = place < depth
    return pair[order][kept], scores[order][kept], int((place == depth - 1).sum())


def _read(path: Path, names: Sequence[str]) -> pa.Table:
    """These columns, as far as the file has them; of ids, each text once."""
    there = [name for name in names if name in pq.read_schema(path).names]
    ids = [name for name in ("part", "query_id", "doc_id") if name in there]
    return pq.read_table(path, columns=there, read_dictionary=ids).unify_dictionaries()


def _of(table: pa.Table, part: str) -> pa.Table:
    codes = _codes(table, "part", pa.array([part]))
    return table if not codes.any() else table.filter(pa.array(codes == 0))


def _codes(table: pa.Table, name: str, known: pa.Array) -> Codes:
    """(rows,) the number of each id among `known`; -1 if it is not there."""
    column = _encoded(table, name)
    numbers = pc.fill_null(pc.index_in(column.dictionary, value_set=known), -1)
    return np.asarray(numbers, np.int64)[np.asarray(column.indices, np.int64)]


def _encoded(table: pa.Table, name: str) -> pa.DictionaryArray:
    column = table.column(name).combine_chunks()
    return column if isinstance(column, pa.DictionaryArray) else column.dictionary_encode()
