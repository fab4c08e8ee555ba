"""Which rows make up each batch."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedkit.core.errors import DataError
from embedkit.training.examples import Examples


class Draw(NamedTuple):
    """A row in a batch. `turn` counts the passes over the data: a row may show other documents in each."""

    row: int
    turn: int


class Pass(NamedTuple):
    """One pass over n rows, or a part of one. With `groups`, a batch is of one group for as long as the group can fill
    one."""

    rows: NDArray[np.int64]  # (n,) rows, each once, in the order in which batches take them
    groups: NDArray[np.int64] | None = None  # by number of the row, of all rows there are: its group
    turn: int | None = None  # of its draws, where passes come in parts; None: its own number


# The passes, or parts of passes, by number: 0, 1, ... Asked when its first batch is due, and perhaps again later, and
# must then say the same, in every process and after every interruption.
Order = Callable[[int], Pass]


def shuffled(rows: int, *, seed: int) -> Order:
    """Every pass shuffled anew."""
    return lambda turn: Pass(np.random.default_rng([seed, turn]).permutation(rows))


class Turns:
    """Which source each step's batch comes from.

    Steps are divided in proportion to `shares`, as exactly as whole numbers can be. Each source's steps lie one in each
    of as many equal parts of the run, at a seeded place: no source is absent for long, and none comes in a rhythm.
    """

    def __init__(self, shares: Sequence[float], *, steps: int, seed: int) -> None:
        self.counts = apportion(shares, steps)
        if 0 in self.counts:
            number = self.counts.index(0)
            raise DataError(
                f"sources: number {number} (0: the stage's own pairs) has a share of {shares[number]:g} in "
                f"{sum(shares):g}, which is no step of {steps}; give it a larger share, or train for more steps"
            )
        due = [  # as parts of the run
            (np.arange(of_it) + np.random.default_rng([seed, number]).random(of_it)) / of_it
            for number, of_it in enumerate(self.counts)
        ]
        order = np.concatenate(due).argsort(kind="stable")
        self._sources = np.repeat(np.arange(len(due)), self.counts)[order]
        self._places = np.empty(steps, dtype=np.int64)
        for number, of_it in enumerate(self.counts):
            self._places[self._sources == number] = np.arange(of_it)

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, step: int) -> tuple[int, int]:
        """The number of the step's source, and how many steps before it were of that source."""
        return int(self._sources[step]), int(self._places[step])


def apportion(shares: Sequence[float], steps: int) -> list[int]:
    """How many of the steps each share gets: whole numbers, the largest remainders rounded up."""
    exact = np.array(shares, dtype=np.float64) * steps / sum(shares)
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: steps - counts.sum()]] += 1
    return [int(count) for count in counts]


class Batches:
    """The batches of a whole training run by step, the same for the same seed.

    No batch has a query text twice, or a positive that is known to be relevant to another of its queries. What does
    not fit waits for the next batch, across the ends of passes, so that every batch is full and no row is lost; only
    where one whole pass has too few rows that go together is a batch smaller. Hard negatives may be relevant to
    another query of the batch; losses mask those.
    """

    def __init__(
        self, examples: Examples, *, batch_size: int, steps: int, seed: int, order: Order | None = None
    ) -> None:
        distinct = len({row.query for row in examples.rows})
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
        self._last: list[Draw] = []
        self._restart()

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> list[Draw]:
        if not 0 <= step < self.steps:
            raise IndexError(step)
        if step < self._made - 1:
            self._restart()
        while self._made <= step:
            self._last = next(self._batches)
            self._made += 1
        return self._last

    def short(self) -> int:
        """How many batches are smaller than `batch_size`."""
        return sum(len(self[step]) < self.batch_size for step in range(self.steps))

    def _restart(self) -> None:
        self._batches = self._generate()
        self._made = 0

    def _generate(self) -> Iterator[list[Draw]]:
        stream = self._stream()
        waiting: dict[int, Draw] = {}
        while True:
            batch = _Builder(self.examples, self.batch_size)
            for draw in list(waiting.values()):
                if batch.full:
                    break
                if batch.add(draw):
                    del waiting[draw.row]
            for _ in range(2 * len(self.examples.rows)):  # far enough to see every row once
                if batch.full:
                    break
                draw = next(stream)
                if draw.row not in waiting and not batch.add(draw):
                    waiting[draw.row] = draw
            yield batch.draws

    def _stream(self) -> Iterator[Draw]:
        """Every row once a turn."""
        for number in count():
            rows, _, turn = self.order(number)
            yield from (Draw(row, number if turn is None else turn) for row in rows.tolist())


class _Builder:
    """A batch that takes only rows that go with those it has."""

    def __init__(self, examples: Examples, size: int) -> None:
        self.draws: list[Draw] = []
        self._rows, self._known_of, self._size = examples.rows, examples.known, size
        self._queries: set[int] = set()
        self._positives: set[int] = set()
        self._known: set[int] = set()

    @property
    def full(self) -> bool:
        return len(self.draws) >= self._size

    def add(self, draw: Draw) -> bool:
        """Take the row unless it conflicts; whether it was taken."""
        row = self._rows[draw.row]
        known = self._known_of[row.query]
        if (
            row.query in self._queries
            or not self._known.isdisjoint(row.positives)
            or not known.isdisjoint(self._positives)
        ):
            return False
        self.draws.append(draw)
        self._queries.add(row.query)
        self._positives.update(row.positives)
        self._known.update(known)
        return True


def mixed(*numbers: int) -> int:
    """A number below 2⁶³ that tells these numbers, in this order, from others."""
    return int(np.random.SeedSequence([len(numbers), *numbers]).generate_state(1, np.uint64)[0] >> 1)
