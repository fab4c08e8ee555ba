"""candidates.parquet: every candidate of every query, its scores, and what became of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embedkit.core.columns import Strings
from embedkit.mining.filters import NONE, Candidates, Mask
from embedkit.mining.miner import Choice

CANDIDATES: Final = "candidates.parquet"
COLUMNS: Final = ("query_id", "doc_id", "rank", "score", "found_by", "reason")  # its own; no signal is called so


def candidate_table(candidates: Candidates, choice: Choice, doc_ids: Sequence[str]) -> pa.Table:
    """query_id, doc_id, rank (0: excluded), score, one for each further signal, which retrievers found it if there are
    several, reason; each query's best first."""
    queries, columns = np.nonzero(candidates.rows != NONE)
    at = (queries, columns)
    signals = {name: values for name, values in candidates.scores.items() if name != "encoder"}
    return pa.table(
        {
            "query_id": _take(candidates.query_ids, queries),
            "doc_id": _documents(doc_ids, candidates.rows[at]),
            "rank": pa.array(candidates.ranks[at].astype(np.int32)),
            "score": pa.array(candidates.signal("encoder")[at].astype(np.float32)),
            **{name: pa.array(values[at].astype(np.float32)) for name, values in signals.items()},
            **_finders({name: mask[at] for name, mask in candidates.found_by.items()}),
            "reason": _take(choice.names, choice.reasons[at]),
        }
    )


def _finders(masks: Mapping[str, Mask]) -> dict[str, pa.Array]:
    """A column of lists of names: whose masks (n,) hold."""
    if not masks:
        return {}
    marks = np.stack(list(masks.values()), axis=1)
    names = np.tile(np.arange(len(masks)), len(marks))[marks.ravel()]
    offsets = np.concatenate([[0], np.cumsum(marks.sum(axis=1))])
    return {"found_by": pa.ListArray.from_arrays(offsets.astype(np.int32), _take(list(masks), names))}


def _take(values: Sequence[str], rows: NDArray[Any]) -> pa.Array:
    return pa.array(values, type=pa.string()).take(pa.array(rows.astype(np.int64)))


def _documents(ids: Sequence[str], rows: NDArray[np.int64]) -> pa.Array:
    """Ids of these rows; only those of distinct rows become Python strings."""
    if isinstance(ids, Strings):
        distinct, places = np.unique(rows, return_inverse=True)
        return _take(ids.take(distinct), places)
    return _take(ids, rows)
