"""Some queries of a mined set with their candidates, laid out as the miner had them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embedkit.core.columns import Strings, places
from embedkit.mining.audit.tables import PairBlock, pair_blocks
from embedkit.mining.fates import CANDIDATES
from embedkit.mining.filters import NONE, Candidates, Mask, Rows, Scores
from embedkit.mining.miner import CHOSEN, NAMES

_RELEVANT: Final = ("known_positive", "duplicate_of_positive")  # exclusions that say a document is relevant
_OWN: Final = ("query_id", "doc_id", "rank", "score", "reason")


@dataclass(frozen=True)
class Sample:
    """Some queries of a mined set with their candidates."""

    candidates: Candidates
    chosen: Mask  # (Q, K), what became a negative
    positives: Sequence[NDArray[np.int64]]  # (Q,) rows of each query's positives, as they stand in pairs.parquet
    first_is_known: NDArray[np.bool_]  # for each query that has any, whether the best candidate is labelled
    first_scores: NDArray[np.float64]  # its scores


def draw_queries(
    folder: Path, doc_ids: Sequence[str], *, cells: int, seed: int
) -> tuple[Sample | None, dict[str, int]]:
    """Random queries with about `cells` candidates together, or all; and how many positives and negatives all have."""
    candidates = pq.ParquetFile(folder / CANDIDATES)
    queries = pq.read_metadata(folder / "pairs.parquet").num_rows
    size = max(1, int(cells * queries / max(candidates.metadata.num_rows, 1)))
    chosen = np.sort(np.random.default_rng(seed).choice(queries, min(size, queries), replace=False))
    totals, ids = {"positives": 0, "negatives": 0}, list[pa.Array]()
    positives, scores = list[NDArray[np.int64]](), list[NDArray[np.float32]]()
    for block in pair_blocks(folder):
        for name in totals:
            totals[name] += len(block.lists[name].values)
        own = chosen[(chosen >= block.first) & (chosen < block.first + len(block))] - block.first
        if len(own):
            ids.append(block.query_ids.take(pa.array(own)))
            positives += _lists(block, own, "positives", doc_ids)
            scores += _lists(block, own, "positive_scores", doc_ids)
    query_ids = pa.chunked_array(ids, type=pa.string())
    table = _rows_of(candidates, query_ids)
    if not len(table):
        return None, totals
    return _laid_out(table, query_ids, doc_ids, positives, scores), totals


def _rows_of(candidates: pq.ParquetFile, ids: pa.ChunkedArray) -> pa.Table:
    """The candidates of these queries."""
    wanted = [field.name for field in candidates.schema_arrow if field.name in _OWN or pa.types.is_floating(field.type)]
    kept = []
    for batch in candidates.iter_batches(batch_size=1 << 17, columns=wanted):
        kept.append(batch.filter(pc.is_in(batch.column("query_id"), value_set=ids)))
    return pa.Table.from_batches(kept) if kept else pa.table({name: [] for name in wanted})


def _lists(block: PairBlock, own: Rows, column: str, doc_ids: Sequence[str]) -> list[NDArray[Any]]:
    lists = block.lists[column]
    ends = np.cumsum(lists.lengths)
    if column == "positives":
        values = places(doc_ids, Strings(pa.chunked_array([lists.values.cast(pa.string())])))
    else:
        values = lists.numbers().astype(np.float32)
    return [values[ends[query] - lists.lengths[query] : ends[query]] for query in own]


def _laid_out(
    table: pa.Table,
    ids: pa.ChunkedArray,
    doc_ids: Sequence[str],
    positives: list[NDArray[np.int64]],
    scores: list[NDArray[np.float32]],
) -> Sample:
    """Rows of candidates.parquet as (Q, K) arrays."""
    query_ids: list[str] = ids.to_pylist()
    queries = places(query_ids, Strings(table.column("query_id")))
    order = np.argsort(queries, kind="stable")
    queries = queries[order]
    counts = np.bincount(queries, minlength=len(query_ids))
    columns = np.arange(len(queries)) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = (len(query_ids), int(counts.max()))

    def lay(values: NDArray[Any], empty: Any) -> NDArray[Any]:
        laid = np.full(shape, empty, dtype=values.dtype)
        laid[queries, columns] = values[order]
        return laid

    rows = lay(places(doc_ids, Strings(table.column("doc_id"))), NONE)
    names = pc.unique(table.column("reason")).to_pylist()
    reasons = lay(places(names, Strings(table.column("reason"))), NONE)
    ranks = lay(np.asarray(table.column("rank"), dtype=np.int64), 0)
    out = (ranks == 0) & (rows != NONE)
    signals = {name: name for name in table.column_names if name not in _OWN} | {"encoder": "score"}
    found: dict[str, Scores] = {
        n: lay(np.asarray(table.column(c), dtype=np.float32), np.nan) for n, c in signals.items()
    }
    known = {name: out & (reasons == code) for code, name in enumerate(names)}
    relevant = np.logical_or.reduce([np.zeros(shape, dtype=np.bool_), *(known[n] for n in _RELEVANT if n in known)])
    candidates = Candidates(
        query_ids=query_ids,
        rows=rows,
        scores=found,
        positives={n: scores if n == "encoder" else _looked_up(rows, found[n], positives) for n in found},
        excluded={name: mask for name, mask in known.items() if mask.any()},
    )
    chosen = reasons == (names.index(NAMES[CHOSEN]) if NAMES[CHOSEN] in names else -2)
    return Sample(candidates, chosen & ~out, positives, *_first(relevant, ranks > 0, found["encoder"]))


def _looked_up(rows: Rows, scores: Scores, positives: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
    """Per query the scores of its positives where they are candidates; NaN for the others."""
    found = []
    for own, docs, values in zip(positives, rows, scores, strict=True):
        by_row: Mapping[int, float] = dict(zip(docs.tolist(), values.tolist(), strict=True))
        found.append(np.array([by_row.get(row, np.nan) for row in own.tolist()], dtype=np.float32))
    return found


def _first(relevant: Mask, eligible: Mask, scores: Scores) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether each query's first candidate is labelled, and its score; documents excluded for other reasons do not
    count."""
    counts = relevant | eligible
    some = np.flatnonzero(counts.any(axis=1))
    first = counts.argmax(axis=1)[some]
    return relevant[some, first], scores[some, first].astype(np.float64)
