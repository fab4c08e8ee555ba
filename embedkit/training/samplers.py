"""Which rows make up each batch."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedkit.core.errors import DataError
from embedkit.training.examples import Examples
from embedkit.training.filling import Conflicts, Filler
from embedkit.training.lists import Lists, Places

_AT_A_TIME: Final = 1 << 16  # rows that batches are made of


class Draw(NamedTuple):
    """A row in a batch. `turn` counts the passes over the data: a row may show other documents in each."""

    row: int
    turn: int


class Pass(NamedTuple):
    """One pass over n rows, or a part of one.

    With `groups`, a batch is of one group as far as its rows fill batches; what the pass leaves of the groups goes
    together, group by group in the order of their numbers. The batches of the pass then come in a seeded order.
    """

    rows: NDArray[np.int64]  # (n,) rows, each once, in the order in which batches take them
    groups: NDArray[np.int64] | None = None  # by number of the row, of all rows there are: its group
    turn: int | None = None  # of its draws, where passes come in parts; None: its own number


# The passes, or parts of passes, by number: 0, 1, ... Asked when its first batch is due, and perhaps again later, and
# must then say the same, in every process and after every interruption.
Order = Callable[[int], Pass]


def shuffled(rows: int, *, seed: int) -> Order:
    """Every pass shuffled anew."""
    return lambda turn: Pass(np.random.default_rng([seed, turn]).permutation(rows))


class Batches:
    """The batches of a whole training run by step, the same for the same seed.

    No batch has a query text twice, or a positive that is known to be relevant to another of its queries. What does
    not fit waits for the next batch, across the ends of passes, so that every batch is full and no row is lost; only
    where one whole pass fills no batch, because too few of its rows go together, are batches smaller. Hard negatives
    may be relevant to another query of the batch; losses mask those.

    Batches of many rows are made at a time. To reach a far step, those before it are made again, a million rows in a
    second or two, less where few documents are relevant to several queries; of them nothing is kept.
    """

    def __init__(
        self, examples: Examples, *, batch_size: int, steps: int, seed: int, order: Order | None = None
    ) -> None:
        distinct = len(np.unique(examples.rows.queries))
        if distinct < batch_size:
            raise DataError(
                f"pairs: {distinct} distinct training queries cannot fill a batch of {batch_size}; "
                "lower batch_size or bring more pairs"
            )
        self.examples = examples
        self.batch_size = batch_size
        self.steps = steps
        self.seed = seed
        self.order = order or shuffled(len(examples.rows), seed=seed)
        self._conflicts = Conflicts(examples)
        self._made: deque[_Made] = deque(maxlen=2)  # the ones before as well: whoever asks may look back
        # first step of what was made together -> steps whose batches are not full, and how many rows each lacks
        self._short: dict[int, tuple[Places, Places]] = {}

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> list[Draw]:
        if not 0 <= step < self.steps:
            raise IndexError(step)
        made = self._holding(step)
        turns, rows = np.divmod(made.batches[step - made.first], len(self.examples.rows))
        return list(map(Draw, rows.tolist(), turns.tolist()))

    def lacking(self, begin: int = 0, end: int | None = None) -> Places:
        """How many rows each batch lacks that is smaller than `batch_size`, of the steps from `begin` to `end`, or to
        the last. Costs what is still to be made of them."""
        end = self.steps if end is None else end
        if end:
            self._holding(end - 1)
        found = [rows[(begin <= steps) & (steps < end)] for steps, rows in self._short.values()]
        return np.concatenate([np.empty(0, dtype=np.int64), *found])

    def _holding(self, step: int) -> "_Made":
        """What was made together with the batch of a step."""
        if self._made and step < self._made[0].first:
            self._made.clear()
        while not self._made or step >= self._made[-1].end:
            self._made.append(self._make(self._made[-1] if self._made else None))
        return next(made for made in self._made if step < made.end)

    def _make(self, last: "_Made | None") -> "_Made":
        there, start = self._next(last)
        rest = last.rest if last else np.empty(0, dtype=np.int64)
        stop = len(there.rows) if there.groups is not None else start + max(_AT_A_TIME, len(rest))
        part = there.rows[start:stop]
        filler = Filler(self._conflicts, self.batch_size)
        draws = np.concatenate([rest, part + (there.turn or 0) * len(self.examples.rows)])
        again = rest % len(self.examples.rows)
        if there.groups is not None:
            draws = _left_of_groups(filler, draws, there.groups[draws % len(self.examples.rows)], again)
        filler.feed(draws, again)
        tried = len(part) + (last.tried if last else 0)
        if not len(filler.batches) and tried >= len(self.examples.rows):
            filler.give_up()
        return self._made_of(filler, there, last, stop, tried)

    def _made_of(self, filler: Filler, there: Pass, last: "_Made | None", stop: int, tried: int) -> "_Made":
        number = last.number + (last.stop >= len(last.there.rows)) if last else 0
        first, batches = last.end if last else 0, filler.batches
        if there.groups is not None:
            batches = batches.take(np.random.default_rng([self.seed, number, 1]).permutation(len(batches)))
        short = np.flatnonzero(batches.lengths < self.batch_size)
        self._short[first] = first + short, self.batch_size - batches.lengths[short]
        rest = np.array(filler.rest(), dtype=np.int64)
        return _Made(number, there, stop, first, batches, rest, 0 if len(batches) else tried)

    def _next(self, last: "_Made | None") -> tuple[Pass, int]:
        """What to make batches of after these: a pass, and the place where to begin in it."""
        if last and last.stop < len(last.there.rows):
            return last.there, last.stop
        number = last.number + 1 if last else 0
        there = self._pass(number)
        return there._replace(turn=number if there.turn is None else there.turn), 0

    def _pass(self, number: int) -> Pass:
        found, rows = self.order(number), len(self.examples.rows)
        if not 0 < len(found.rows) <= rows or (found.groups is not None and len(found.groups) != rows):
            raise ValueError(f"pass {number} has {len(found.rows)} rows of {rows}")
        return found


def _left_of_groups(filler: Filler, draws: Places, groups: Places, again: Places) -> Places:
    """Fill batches of one group each; what is left then, group by group."""
    order = np.argsort(groups, kind="stable")
    left: list[int] = []
    for part in np.split(draws[order], np.flatnonzero(np.diff(groups[order])) + 1):
        filler.feed(part, again)
        left += filler.rest()
    return np.array(left, dtype=np.int64)


@dataclass(frozen=True)
class _Made:
    """The batches of some rows of a pass; of all, where it has groups."""

    number: int  # of the pass
    there: Pass
    stop: int  # how many of the pass's rows are drawn then
    first: int  # step of the first batch
    batches: Lists  # of draws
    rest: Places  # draws that the next rows go after
    tried: int  # rows since the last batch

    @property
    def end(self) -> int:
        return self.first + len(self.batches)


def mixed(*numbers: int) -> int:
    """A number below 2⁶³ that tells these numbers, in this order, from others."""
    return int(np.random.SeedSequence([len(numbers), *numbers]).generate_state(1, np.uint64)[0] >> 1)
