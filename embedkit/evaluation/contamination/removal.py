"""Training pairs without what evaluation has: ids stay, what went is counted by reason."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embedkit.core.errors import DataError
from embedkit.core.pair_files import join_pairs, pair_batches, pair_columns
from embedkit.core.pairs import PAIRS, Pair
from embedkit.core.records import write_corpus, write_queries
from embedkit.core.stats import write_stats
from embedkit.core.store import check_outside, sync_tree
from embedkit.evaluation.contamination.check import Checked
from embedkit.evaluation.contamination.held import Mask

_ALIGNED: Final = {  # columns with an entry for each entry of another
    "positives": ("positive_scores", "positive_targets"),
    "negatives": ("negative_scores", "negative_targets", "negative_ranks"),
}
_BARE: Final = ("known", "suspects", "fills")


@dataclass(frozen=True)
class Removed:
    """What is left of training pairs, and what went."""

    rows: int  # left
    counts: Mapping[str, int]  # reason -> rows, entries or texts

    def lines(self) -> list[str]:
        """For people."""
        told = [f"{n:,} {what.replace('_', ' ')}" for what, n in self.counts.items() if n]
        return [f"{self.rows:,} rows of pairs are left; removed: {', '.join(told) or 'nothing'}"]


def contaminated(checked: Checked, *, whole_corpus: bool = False) -> Mask:
    """(n,) the training texts, by number, that match a query or a relevant document of a task; with `whole_corpus` also
    those that match any other document: few are left of a set that shares its corpus with a task."""
    bad = np.zeros(len(checked.training), dtype=np.bool_)
    for overlap in checked.overlaps():
        wanted = overlap.among("queries") | overlap.among("relevant")
        if whole_corpus:
            wanted |= overlap.among("documents")
        bad[checked.matches.numbers[wanted[checked.matches.units]]] = True
    return bad


def write_clean(checked: Checked, out: Path, *, whole_corpus: bool = False) -> Removed:
    """Write a folder of pairs to `out` without the contaminated texts: rows of such a query go, and rows that are left
    with no positive; such documents go from every list, and from the corpus.

    Raises `DataError` if `out` is there and not empty, or lies in the folder that is cleaned.
    """
    training = checked.training
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: is there already; name a folder that does not exist yet")
    check_outside(out, training.folder)
    bad, first = contaminated(checked, whole_corpus=whole_corpus), len(training.queries)
    queries = {training.queries.ids[int(row)] for row in np.flatnonzero(bad[:first])}
    documents = {training.corpus.ids[int(row)] for row in np.flatnonzero(bad[first:])}
    draft = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        counts = Counter[str](queries_removed=len(queries), documents_removed=len(documents))
        rows = _write_rows(training.folder, draft, queries, documents, counts)
        write_queries(draft, training.queries.take(np.flatnonzero(~bad[:first])))
        write_corpus(draft, training.corpus.take(np.flatnonzero(~bad[first:])))
        removed = Removed(rows, dict(counts))
        write_stats(draft, {"summary": removed.lines(), "counts": {"rows": rows, **counts}, "warnings": []})
        sync_tree(draft)
        if out.is_dir():
            out.rmdir()
        draft.rename(out)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return removed


def _write_rows(folder: Path, out: Path, queries: set[str], documents: set[str], counts: Counter[str]) -> int:
    parts, rows = list[Path](), 0
    (out / "parts").mkdir()
    for number, batch in enumerate(pair_batches(folder)):
        kept = list(_kept(batch, queries, documents, counts))
        rows += len(kept)
        parts.append(out / "parts" / f"{number}.parquet")
        pq.write_table(_table(kept), parts[-1])
    join_pairs(parts, out)
    shutil.rmtree(out / "parts")
    return rows


def _kept(rows: Sequence[Pair], queries: set[str], documents: set[str], counts: Counter[str]) -> Iterator[Pair]:
    for row in rows:
        if row.query_id in queries:
            counts["rows_whose_query_is_evaluated_on"] += 1
            continue
        clean = _without(row, documents, counts)
        if row.positives and not clean.positives:
            counts["rows_left_without_a_positive"] += 1
        else:
            yield clean


def _without(row: Pair, documents: set[str], counts: Counter[str]) -> Pair:
    """The row without these documents."""
    if documents.isdisjoint((*row.positives, *row.negatives, *row.known, *row.suspects)):
        return row
    changed: dict[str, Any] = {}
    for name, aligned in _ALIGNED.items():
        ids = getattr(row, name)
        places = [place for place, id_ in enumerate(ids) if id_ not in documents]
        counts[f"{name}_removed"] += len(ids) - len(places)
        changed[name] = tuple(ids[place] for place in places)
        for other in aligned:
            values = getattr(row, other)
            changed[other] = tuple(values[place] for place in places) if len(values) == len(ids) else values
    for name in _BARE:
        changed[name] = tuple(id_ for id_ in getattr(row, name) if id_ not in documents)
    return replace(row, **changed)


def _table(rows: Sequence[Pair]) -> pa.Table:
    return pair_columns({f.name: pa.array([getattr(row, f.name) for row in rows], type=f.type) for f in PAIRS})
