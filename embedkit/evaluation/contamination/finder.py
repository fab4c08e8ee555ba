"""Finds evaluation texts in training texts by their words: the same, nearly the same, one inside the other.

Near: the Jaccard similarity of the sets of three-word shingles. Inside: the share of one text's runs of 13 words that
the other has too; 13 is the custom since Brown et al. (2020), https://arxiv.org/abs/2005.14165, appendix C. A text of
fewer words is never looked for inside another: short ones are there by chance.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np

from embedkit.core.memory import release
from embedkit.core.progress import Progress, silent
from embedkit.core.runs import Sets, Words
from embedkit.core.shingles import WORDS
from embedkit.evaluation.contamination.held import HeldTexts, Rows
from embedkit.evaluation.contamination.matches import How, Matches
from embedkit.evaluation.contamination.training import Training
from embedkit.measures.duplicates import NearDuplicates
from embedkit.measures.sets import Containment, Likeness, SetIndex, nearly_equal

RUN: Final = 13  # words
BLOCK: Final = 1 << 23  # runs of words of evaluation texts that are indexed at a time; they take 24 bytes each
NearBy = Literal["auto", "exact", "minhash"]


@dataclass(frozen=True)
class Rules:
    """When two texts match."""

    near: float | None = 0.9  # Jaccard similarity; None: do not look
    contained: float | None = 0.8  # share of the runs of the text that is inside; None: do not look
    near_by: NearBy = "auto"  # auto: exactly if all evaluation texts are indexed at once, else by MinHash


def find_matches(
    training: Training, held: HeldTexts, rules: Rules, *, block: int = BLOCK, progress: Progress = silent
) -> tuple[Matches, Literal["exact", "minhash"]]:
    """All matches by words, and how near ones were found.

    Evaluation texts are indexed in blocks of about `block` runs of words, and training texts are read once a block: so
    memory is bounded, whatever the size of either.
    """
    exactly = rules.near_by == "exact" or (rules.near_by == "auto" and 2 * held.words <= block)
    found = []
    for finder in _finders(held, rules, exactly=exactly, block=block):
        with progress("compare texts", len(training.seen())) as advance:
            for numbers, texts in training.batches():
                found.append(finder.find(numbers, Words(texts)))
                advance(len(numbers))
        del finder  # before the next is made
        release(cycles=False)
    return Matches.joined(found), "exact" if exactly else "minhash"


class Near(Protocol):
    """Finds sets of shingles that are nearly those of an indexed text."""

    def find(self, sets: Sets) -> Likeness:
        """Pairs of one of `sets` and an indexed one."""
        ...


class ExactNear:
    """Counts, by an inverted index, what every pair of texts shares: nothing is missed. 20 bytes a word."""

    def __init__(self, sets: Sets, near: float) -> None:
        self._index, self._near = SetIndex(sets), near

    def find(self, sets: Sets) -> Likeness:
        """All pairs that are near."""
        return nearly_equal(self._index, sets, self._near)


class MinHashNear:
    """MinHash bands propose pairs, each is decided by its Jaccard similarity: nothing is found that is not near, and
    less than 1 in 100 of those right at the threshold is missed (`embedkit.measures.duplicates.bands`). About 200
    bytes a text, of whatever length."""

    def __init__(self, sets: Sets, held: HeldTexts, units: Rows, near: float) -> None:
        self._bands, self._near, self._held, self._units = NearDuplicates(near), near, held, units
        self._index = SetIndex(self._keys(sets))

    def find(self, sets: Sets) -> Likeness:
        """The pairs that share a band and are near; texts of the proposed ones are read again."""
        asked, rows = (np.unique(one) for one in self._index.sharing(self._keys(sets)))
        texts = Words(self._held.texts(self._units[rows])).shingles(WORDS)
        close = nearly_equal(SetIndex(texts), _some(sets, asked), self._near)
        return Likeness(asked[close.asked], rows[close.rows], close.values)

    def _keys(self, sets: Sets) -> Sets:
        ends = np.cumsum(sets.sizes)
        parts = [sets.values[end - size : end] for end, size in zip(ends, sets.sizes, strict=True)]
        keys = [np.unique(self._bands.keys_of(self._bands.sketch_of(part))) for part in parts]
        return Sets.of([found[found != 0] for found in keys])


class Finder:
    """Some evaluation texts, and what of the training they are."""

    def __init__(self, held: HeldTexts, units: Rows, near: Near | None, runs: Sets, rules: Rules) -> None:
        self._held, self._units, self._near = held, units, near
        self._runs = Containment(runs, rules.contained) if rules.contained is not None else None

    def find(self, numbers: Rows, words: Words) -> Matches:
        """Matches of the training texts with these numbers."""
        units = self._held.same(words.digests)
        there = np.flatnonzero((units >= self._units[0]) & (units <= self._units[-1]))
        parts = [Matches.of(numbers[there], units[there], "exact")]
        if self._near is not None:
            parts.append(self._matches(numbers, self._near.find(words.shingles(WORDS)), "near"))
        if self._runs is not None:
            runs = words.runs(RUN)
            within, around = self._runs.inside(runs), self._runs.around(runs)
            parts.append(self._matches(numbers, within, "inside_training"))
            parts.append(self._matches(numbers, around, "inside_evaluation"))
        return Matches.joined(parts)

    def _matches(self, numbers: Rows, found: Likeness, how: How) -> Matches:
        return Matches.of(numbers[found.asked], self._units[found.rows], how, found.values)


def _finders(held: HeldTexts, rules: Rules, *, exactly: bool, block: int) -> Iterator[Finder]:
    """A finder for one block of evaluation texts after the other; whoever asks for the next must let go of the last."""
    units, shingles, runs, size = list[Rows](), list[Sets](), list[Sets](), 0
    nothing = Sets.of([])
    for some, words in held.batches():
        units.append(some)
        shingles.append(words.shingles(WORDS) if rules.near is not None else nothing)
        runs.append(words.runs(RUN) if rules.contained is not None else nothing)
        size += len(shingles[-1].values) + len(runs[-1].values)
        if size >= block or int(some[-1]) == len(held) - 1:
            yield _finder(held, units, shingles, runs, rules, exactly=exactly)
            size = 0


def _finder(
    held: HeldTexts, units: list[Rows], shingles: list[Sets], runs: list[Sets], rules: Rules, *, exactly: bool
) -> Finder:
    """A finder of what was gathered; empties the lists, so that nothing is held twice."""
    own, near = np.concatenate(units), None
    sets = Sets.joined(shingles)
    shingles.clear()
    if rules.near is not None:
        near = ExactNear(sets, rules.near) if exactly else MinHashNear(sets, held, own, rules.near)
    joined = Sets.joined(runs)
    units.clear()
    runs.clear()
    return Finder(held, own, near, joined, rules)


def _some(sets: Sets, rows: Rows) -> Sets:
    kept = np.zeros(len(sets), dtype=np.bool_)
    kept[rows] = True
    return Sets(sets.values[kept[sets.owners()]], sets.sizes[kept])
