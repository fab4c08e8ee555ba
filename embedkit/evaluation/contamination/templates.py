"""Queries made by template are nearly the same without being the same question: how much of a likeness is template."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from embedkit.core.shingles import WORDS, words
from embedkit.core.text import normalised
from embedkit.evaluation.contamination.matches import HOWS
from embedkit.evaluation.contamination.overlaps import Overlap

_SAMPLE: Final = 20_000  # queries that are looked at, evenly spaced
_SHARE, _FEWEST = 0.01, 5  # of the queries: what stands in so many is a template's
_SHOWN: Final = 5


def templates(overlap: Overlap) -> dict[str, Any]:
    """The commonest runs of three words in the task's queries, and how many of the near matches among queries share
    mostly such runs. [R]

    "common": [{"words", "share" of the queries that have them}], those in 1 % of the queries, and 5, at least;
    "near": near matches of a training query and one of the task's; "templated": those of them where at least half of
    the runs that both have are common.
    """
    queries = overlap.of.queries
    step = max(1, -(-len(queries) // _SAMPLE))
    sample = [queries[row] for row in range(0, len(queries), step)]
    counts = Counter(run for text in sample for run in _runs(text))
    least = max(_FEWEST, _SHARE * len(sample))
    common = {run: n for run, n in counts.items() if n >= least}
    shown = sorted(common.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]
    near = overlap.cell("queries", "queries")
    near = near.where(near.hows == HOWS.index("near"))
    pairs = zip(near.numbers.tolist(), near.units, strict=True)
    templated = sum(
        _mostly(overlap.training.text(number), overlap.held.texts(near.units[at : at + 1])[0], common)
        for at, (number, _) in enumerate(pairs)
    )
    return {
        "common": [{"words": run, "share": n / len(sample)} for run, n in shown],
        "near": len(near),
        "templated": templated,
    }


def _mostly(text: str, other: str, common: dict[str, int]) -> bool:
    """Whether at least half of what both have is common."""
    shared = _runs(text) & _runs(other)
    return 2 * sum(run in common for run in shared) >= len(shared)


def _runs(text: str) -> set[str]:
    found: Sequence[str] = words(normalised(text))
    return {" ".join(found[at : at + WORDS]) for at in range(max(1, len(found) - WORDS + 1))} if found else set()
