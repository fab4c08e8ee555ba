"""Which of a query's documents are exported, and with what scores. Nothing is ever added."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from embedkit.core.errors import DataError
from embedkit.core.pairs import Pair
from embedkit.exports.format import Format

_COLUMNS: Final = {"miner": ("positive_scores", "negative_scores"), "teacher": ("positive_targets", "negative_targets")}
_STAGES: Final = {"miner": "mine", "teacher": "teach"}
_Judged = Sequence[tuple[str, float | None]]  # ids and scores


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is exported of a query."""

    query_id: str
    positives: _Judged
    negatives: _Judged

    @property
    def documents(self) -> list[str]:
        """Ids of all its documents."""
        return [id_ for id_, _ in (*self.positives, *self.negatives)]


def choose(pair: Pair, form: Format, counts: Counter[str]) -> Chosen | None:
    """Positives and the first negatives of a query, or None where its format can make no row of it.

    Left out and counted: negatives that are known or suspected to be relevant, which a pairs artifact never has but a
    table made elsewhere may; fills, where the format wants none. Raises `DataError` if a score is missing.
    """
    kept = _negatives(pair, form, counts)
    if not pair.positives:
        counts["queries without a positive"] += 1
    elif not kept and not form.lone_positives:
        counts["queries without a negative"] += 1
    elif form.rectangular and form.negatives is not None and len(kept) < form.negatives:
        counts[f"queries with fewer than {form.negatives} negatives"] += 1
    else:
        kept = kept[: form.negatives]
        counts["fills"] += sum(_is_fill(pair, i) for i in kept)
        of_positives, of_negatives = _scores(pair, form, kept)
        return Chosen(
            pair.query_id,
            tuple(zip(pair.positives, of_positives, strict=True)),
            tuple(zip((pair.negatives[i] for i in kept), of_negatives, strict=True)),
        )
    return None


def widths(pairs: Iterable[Pair], form: Format) -> Counter[int]:
    """How many queries have how many negatives to export, for queries with a positive; all negatives counted."""
    return Counter(len(_negatives(pair, form, Counter())) for pair in pairs if pair.positives)


def _negatives(pair: Pair, form: Format, counts: Counter[str]) -> list[int]:
    """Places in `pair.negatives` of those that may be exported."""
    relevant, suspects = {*pair.positives, *pair.known}, set(pair.suspects)
    kept = []
    for place, document in enumerate(pair.negatives):
        if document in relevant:
            counts["negatives known to be relevant"] += 1
        elif document in suspects:
            counts["negatives that may be relevant"] += 1
        elif not form.fills and _is_fill(pair, place):
            counts["negatives that a fill policy put there"] += 1
        else:
            kept.append(place)
    return kept


def _is_fill(pair: Pair, place: int) -> bool:
    """Whether a fill policy put it there; a repeat has the id of a negative that was found, but no rank."""
    ranked = place < len(pair.negative_ranks) and pair.negative_ranks[place] > 0
    return pair.negatives[place] in pair.fills and not ranked


def _scores(pair: Pair, form: Format, kept: Sequence[int]) -> tuple[Sequence[float | None], Sequence[float | None]]:
    """Of the positives and of the negatives at `kept`; None for each where the format has no scores."""
    if form.scores is None:
        return [None] * len(pair.positives), [None] * len(kept)
    found = []
    for documents, column in zip((pair.positives, pair.negatives), _COLUMNS[form.scores], strict=True):
        scores: tuple[float, ...] = getattr(pair, column)
        if len(scores) != len(documents):
            raise DataError(
                f"pairs.parquet: query {pair.query_id!r} has {len(documents)} {column.split('_')[0]}s and "
                f"{len(scores)} {column}; scores of the {form.scores} are there after a `{_STAGES[form.scores]}` stage"
            )
        found.append(scores)
    positives, negatives = found[0], [found[1][i] for i in kept]
    if not all(map(math.isfinite, (*positives, *negatives))):
        raise DataError(f"pairs.parquet: query {pair.query_id!r} has a score that is no number; export without scores")
    return positives, negatives
