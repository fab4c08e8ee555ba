"""How the steps of a run are divided among its sources, and which step is whose."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from embedkit.core.errors import DataError
from embedkit.core.spec import Spec
from embedkit.training.sources import Source


class Shares(Spec):
    """Each source has the part of the steps that its `share` says, of the sum of all shares."""

    kind: Literal["shares"] = "shares"

    def check(self, sources: Sequence[Source]) -> None:
        """A `ValueError` where a source has what this mixing does not look at."""
        if groups := [source.group for source in sources if source.group is not None]:
            raise ValueError(f"has the group {groups[0]!r}, which mixing shares does not look at; set mixing to sizes")

    def parts(self, sources: Sequence[Source], rows: Sequence[int]) -> list[float]:
        """The part of the steps that each source has; they sum to 1."""
        total = sum(source.share for source in sources)
        return [source.share / total for source in sources]


class Sizes(Spec):
    """Each source has steps in proportion to a power of its number of rows, l: p_i = l_i^α / Σ_j l_j^α.

    α = 1 takes every row equally often, 0 every source. With `groups`, a named group of sources has a fixed part η_g of
    the steps, which its sources divide among them in this way: p_i = η_g · l_i^α / Σ_{j in g} l_j^α; the sources of no
    group divide what is left.
    Reference: https://arxiv.org/abs/2508.21632, data grouping; there retrieval has η = 0.72. α = 0.5 is GTE's,
    https://arxiv.org/abs/2308.03281.
    """

    kind: Literal["sizes"] = "sizes"
    power: Annotated[float, Field(ge=0)] = 0.5
    groups: Mapping[str, Annotated[float, Field(gt=0, le=1)]] = {}

    def check(self, sources: Sequence[Source]) -> None:
        """A `ValueError` where a source has what this mixing does not look at, or groups and sources do not agree."""
        if any(source.share != 1 for source in sources):
            raise ValueError("has a share, but mixing sizes divides the steps by numbers of rows; leave share out")
        members = Counter(source.group for source in sources)
        if unknown := [group for group in members if group is not None and group not in self.groups]:
            raise ValueError(f"group {unknown[0]!r} has no part of the steps; mixing names {sorted(self.groups)}")
        if empty := [group for group in self.groups if not members[group]]:
            raise ValueError(f"mixing gives the group {empty[0]!r} steps, but no source is of it")
        fixed, loose = sum(self.groups.values()), members[None]
        if loose and fixed > 1 - 1e-9:
            raise ValueError(f"the groups' parts of the steps sum to {fixed:g}, and {loose} sources are of no group")
        if not loose and abs(fixed - 1) > 1e-9:
            raise ValueError(f"all sources are of groups, whose parts of the steps must sum to 1, found {fixed:g}")

    def parts(self, sources: Sequence[Source], rows: Sequence[int]) -> list[float]:
        """The part of the steps that each source has; they sum to 1."""
        sizes = [float(max(count, 1)) ** self.power for count in rows]
        of_group: dict[str | None, float] = {}
        for source, size in zip(sources, sizes, strict=True):
            of_group[source.group] = of_group.get(source.group, 0.0) + size
        rest = 1.0 - sum(self.groups.values())
        parts = [rest if source.group is None else self.groups[source.group] for source in sources]
        return [part * size / of_group[source.group] for part, size, source in zip(parts, sizes, sources, strict=True)]


AnyMixing = Annotated[Shares | Sizes, Field(discriminator="kind")]


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
