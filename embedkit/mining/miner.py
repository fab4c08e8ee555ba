"""Mining proper: candidates and filters in, negatives and the reason for every other candidate out. Pure NumPy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedkit.mining.filters import NONE, Candidates, Filter, Mask, Rows, Verdicts, unique_names
from embedkit.mining.sampling import Sampling, Top

Reasons = Verdicts
EMPTY, CHOSEN, SPARE = 0, 1, 2  # reasons that are not drops: no candidate, a negative, passed but not needed
NAMES: Final = ("", "chosen", "spare")


@dataclass(frozen=True)
class Choice:
    """What became of Q queries' candidates."""

    columns: Rows  # (Q, count) columns of the candidates, best first; -1 where too few passed
    reasons: Reasons  # (Q, K) places in `names`
    names: tuple[str, ...]  # "" (no candidate), "chosen", "spare", then the reasons for dropping, in the order applied

    @property
    def dropped(self) -> dict[str, int]:
        """Reason -> candidates dropped for it. Each is counted once, under the first reason that applies."""
        counts = np.bincount(self.reasons.ravel(), minlength=len(self.names))
        return {name: int(count) for name, count in list(zip(self.names, counts, strict=True))[SPARE + 1 :]}

    def count(self, reason: int) -> int:
        """Candidates with this reason."""
        return int(np.count_nonzero(self.reasons == reason))


def choose_negatives(
    candidates: Candidates, filters: Sequence[Filter], *, count: int, sampling: Sampling | None = None
) -> Choice:
    """Up to `count` negatives a query among its eligible candidates that pass every filter.

    Where fewer pass, fewer are chosen: nothing is ever filled in. The order is the candidates', best first, whatever
    the sampling. Raises `DataError` if a filter returns something that is not a (Q, K) mask.
    """
    reasons = np.where(candidates.rows == NONE, EMPTY, SPARE).astype(np.int16)
    drops: list[tuple[Verdicts, int]] = [(mask.astype(np.int16), 1) for mask in candidates.excluded.values()]
    drops += [(rule.verdicts(candidates), len(rule.reasons)) for rule in filters]
    first = len(NAMES)
    for verdicts, names_of_it in drops:
        dropped = (reasons == SPARE) & (verdicts > 0)
        reasons[dropped] = verdicts[dropped] + (first - 1)
        first += names_of_it
    names = (*NAMES, *drop_names([*candidates.excluded], filters))
    chosen = (sampling or Top()).choose(candidates, reasons == SPARE, count)
    reasons[chosen] = CHOSEN
    return Choice(_columns(chosen, count), reasons, names)


def find_suspects(candidates: Candidates, filters: Sequence[Filter]) -> Mask:
    """(Q, K), True for eligible candidates that some filter takes for relevant, whatever other filters say."""
    mask: Mask = np.zeros(candidates.rows.shape, dtype=np.bool_)
    for rule in filters:
        mask |= rule.suspects(candidates)
    return mask & candidates.eligible


def best(candidates: Candidates, top_k: int) -> Candidates:
    """The best `top_k` eligible candidates of each query, and the excluded ones that stand among them."""
    before: Rows = np.cumsum(candidates.eligible, axis=1) - candidates.eligible
    kept = (before < top_k) & (candidates.rows != NONE)
    width = int(kept.sum(axis=1).max(initial=0))
    return Candidates(
        query_ids=candidates.query_ids,
        rows=np.where(kept, candidates.rows, NONE)[:, :width],
        scores={name: scores[:, :width] for name, scores in candidates.scores.items()},
        positives=candidates.positives,
        excluded={reason: (mask & kept)[:, :width] for reason, mask in candidates.excluded.items()},
        found_by={name: (mask & kept)[:, :width] for name, mask in candidates.found_by.items()},
    )


def find_rows(rows: Rows, wanted: Sequence[NDArray[np.int64]]) -> Mask:
    """(Q, K), True where `rows[q, k]` is one of `wanted[q]`. Rows are not negative, but for -1: nothing."""
    lengths = [len(some) for some in wanted]
    if not sum(lengths):
        return np.zeros(rows.shape, dtype=bool)
    flat = np.concatenate([np.asarray(some, dtype=np.int64) for some in wanted])
    width = max(int(rows.max(initial=0)), int(flat.max())) + 1
    queries = np.arange(len(rows), dtype=np.int64)
    keys = np.repeat(queries, lengths) * width + flat
    found: Mask = np.isin(queries[:, None] * width + rows, keys) & (rows != NONE)
    return found


def drop_names(excluded: Sequence[str], filters: Sequence[Filter]) -> tuple[str, ...]:
    """Names of the reasons for dropping a candidate, in the order applied; one that comes again is numbered."""
    return unique_names([*excluded, *(reason for rule in filters for reason in rule.reasons)])


def _columns(chosen: Mask, count: int) -> Rows:
    """(Q, count) columns of each row's chosen candidates, -1 behind them."""
    columns = np.full((len(chosen), count), NONE, dtype=np.int64)
    queries, found = np.nonzero(chosen)
    places = (np.cumsum(chosen, axis=1) - 1)[queries, found]
    columns[queries, places] = found
    return columns
