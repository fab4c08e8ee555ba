"""How many negatives are false, by hiding known positives: what would the filters have made of them? [R] ours.

Each positive of a query with several is hidden in turn: it is no positive any more, nothing excludes it, and filters
and sampling choose again. The share of hidden positives that become negatives, w, is measured, for the filters as they
are. How many relevant documents there are that nobody labelled is not, and no unlabelled data can tell. Of all relevant
documents let c be labelled; then (1 - c) / c are unlabelled for each labelled one, and

    false negatives = w · (labelled positives) · (1 - c) / c

if those unlabelled score as the labelled do. c is at least the share of queries whose very first candidate is labelled,
if a document ranks first as often when it is labelled as when it is not: so this is an estimate from above, on that
assumption (Elkan and Noto's "selected completely at random", https://doi.org/10.1145/1401890.1401920), which does not
hold for an encoder that was trained on the same labels, nor for judgements that were made on this encoder's results.

The interval joins the exact intervals of w (queries as clusters) and of c, each at 97.5 %, so that both hold at 95 %.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embedkit.core.columns import Strings, places
from embedkit.core.errors import DataError
from embedkit.mining.audit.proportions import clustered_interval, exact_interval, told
from embedkit.mining.audit.tables import PairBlock, pair_blocks
from embedkit.mining.fates import CANDIDATES
from embedkit.mining.filters import NONE, Candidates, Filter, Mask, Rows, Scores
from embedkit.mining.miner import CHOSEN, NAMES, choose_negatives
from embedkit.mining.sampling import Sampling

_CELLS: Final = 1 << 20  # candidates that are looked at, at most
_HIDDEN: Final = 10  # positives of one query that are hidden, at most
_EACH: Final = 0.975
_RELEVANT: Final = ("known_positive", "duplicate_of_positive")  # exclusions that say a document is relevant
_OWN: Final = ("query_id", "doc_id", "rank", "score", "reason")
ASSUMPTION: Final = (
    "if unlabelled relevant documents score as labelled ones do, and the encoder has not learnt from these labels"
)


@dataclass(frozen=True)
class Rules:
    """What the negatives of a mined set were chosen by."""

    filters: Sequence[Filter]
    count: int
    sampling: Sampling
    from_labels: frozenset[str] = frozenset()  # signals made from the labels: a hidden positive would still be in them


@dataclass(frozen=True)
class Sample:
    """Some queries of a mined set with their candidates."""

    candidates: Candidates
    chosen: Mask  # (Q, K), what became a negative
    positives: Sequence[NDArray[np.int64]]  # (Q,) rows of each query's positives, as they stand in pairs.parquet
    first_is_known: NDArray[np.bool_]  # (Q,) whether the best candidate is labelled


def hidden_positives(folder: Path, doc_ids: Sequence[str], rules: Rules, *, seed: int = 0) -> dict[str, Any]:
    """The estimate as stats.json has it, or `{"missing": why}`."""
    sample, totals = _sample(folder, doc_ids, seed)
    if sample is None:
        return {"missing": "no query has a candidate"}
    several = np.array([len(rows) > 1 for rows in sample.positives])
    if not several.any():
        return {"missing": "no query has several positives, so none can be hidden"}
    try:
        again = choose_negatives(sample.candidates, rules.filters, count=rules.count, sampling=rules.sampling)
    except DataError as error:
        return {"missing": f"the filters cannot be asked again: {error}"}
    faithful = ((again.reasons == CHOSEN) == sample.chosen).all(axis=1)
    tested = np.flatnonzero(several & faithful)
    if 2 * len(tested) < np.count_nonzero(several):
        return {"missing": "the filters need scores of positives that candidates.parquet does not have"}
    kept, hidden = _hide(sample, tested, rules, seed)
    labelled = np.array([len(sample.positives[query]) for query in tested.tolist()])
    found = _estimate(kept / hidden * labelled, labelled, sample.first_is_known, **totals)
    skipped = [rule.kind for rule in rules.filters if rules.from_labels.intersection(rule.signals)]
    counts = {"queries": len(tested), "hidden": int(hidden.sum()), "kept": int(kept.sum())}
    return {**counts, **found, "without_filters": skipped, "assumption": ASSUMPTION}


def _estimate(
    kept: NDArray[np.float64], labelled: NDArray[np.int64], first: NDArray[np.bool_], *, positives: int, negatives: int
) -> dict[str, Any]:
    """Survival w, completeness c, and the rates they give; `kept` counts each query's positives, hidden or not."""
    survival = told(float(kept.sum() / labelled.sum()), clustered_interval(kept, labelled, confidence=_EACH))
    hits, n = int(first.sum()), len(first)
    known = told(hits / n, exact_interval(hits, n, confidence=_EACH))
    scale = positives / negatives if negatives else 0.0

    def rate(w: float, c: float) -> float:
        return min(1.0, w * scale * (1 - c) / c) if c > 0 else 1.0

    ends = rate(survival["low"], known["high"]), rate(survival["high"], known["low"])
    half = {name: min(1.0, value * scale) for name, value in survival.items()}
    return {
        "survival": survival,
        "first_is_known": known,
        "rate": told(rate(survival["value"], known["value"]), ends),
        "rate_if_half_is_labelled": half,
    }


def _hide(
    sample: Sample, tested: NDArray[np.int64], rules: Rules, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Per tested query, how many positives became negatives when hidden, and how many were hidden."""
    filters = [rule for rule in rules.filters if not rules.from_labels.intersection(rule.signals)]
    rng = np.random.default_rng(seed)
    kept, hidden = np.zeros((2, len(tested)), dtype=np.int64)
    at: list[tuple[int, int, int, int]] = []  # place in `tested`, query, its positive, column
    for place, query in enumerate(tested.tolist()):
        own = sample.positives[query]
        some = rng.permutation(len(own))[:_HIDDEN]
        hidden[place] = len(some)
        for positive in some.tolist():
            columns = np.flatnonzero(sample.candidates.rows[query] == own[positive])
            at += [(place, query, positive, int(column)) for column in columns]
    step = max(1, _CELLS // max(sample.chosen.shape[1], 1))
    for start in range(0, len(at), step):
        some_at = np.array(at[start : start + step], dtype=np.int64)
        choice = choose_negatives(_without(sample, some_at), filters, count=rules.count, sampling=rules.sampling)
        became = choice.reasons[np.arange(len(some_at)), some_at[:, 3]] == CHOSEN
        np.add.at(kept, some_at[:, 0], became)
    return kept, hidden


def _without(sample: Sample, at: NDArray[np.int64]) -> Candidates:
    """A query for each entry of `at`, its positive there hidden."""
    given, entries = sample.candidates, np.arange(len(at))
    excluded = {}
    for reason, mask in given.excluded.items():
        excluded[reason] = mask[at[:, 1]]
        excluded[reason][entries, at[:, 3]] = False
    return replace(
        given,
        query_ids=[given.query_ids[query] for query in at[:, 1].tolist()],
        rows=given.rows[at[:, 1]],
        scores={name: scores[at[:, 1]] for name, scores in given.scores.items()},
        positives={
            name: [np.delete(lists[query], positive) for _, query, positive, _ in at.tolist()]
            for name, lists in given.positives.items()
        },
        excluded=excluded,
    )


def _sample(folder: Path, doc_ids: Sequence[str], seed: int) -> tuple[Sample | None, dict[str, int]]:
    """Random queries with their candidates, all if they are few, and how many positives and negatives all have."""
    candidates = pq.ParquetFile(folder / CANDIDATES)
    queries = pq.read_metadata(folder / "pairs.parquet").num_rows
    size = max(1, int(_CELLS * queries / max(candidates.metadata.num_rows, 1)))
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
    return Sample(candidates, chosen & ~out, positives, _first(relevant, ranks > 0))


def _looked_up(rows: Rows, scores: Scores, positives: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
    """Per query the scores of its positives where they are candidates; NaN for the others."""
    found = []
    for own, docs, values in zip(positives, rows, scores, strict=True):
        by_row: Mapping[int, float] = dict(zip(docs.tolist(), values.tolist(), strict=True))
        found.append(np.array([by_row.get(row, np.nan) for row in own.tolist()], dtype=np.float32))
    return found


def _first(relevant: Mask, eligible: Mask) -> NDArray[np.bool_]:
    """(Q,) whether the first candidate is labelled; documents excluded for other reasons do not count."""
    counts = relevant | eligible
    first = counts.argmax(axis=1)
    found: NDArray[np.bool_] = relevant[np.arange(len(relevant)), first]
    return found[counts.any(axis=1)]
