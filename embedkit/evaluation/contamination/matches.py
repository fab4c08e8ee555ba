"""Which training text is which evaluation text, and how."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from embedkit.evaluation.contamination.held import Rows

How = Literal["exact", "near", "inside_training", "inside_evaluation", "similar"]
HOWS: Final[tuple[How, ...]] = ("exact", "near", "inside_training", "inside_evaluation", "similar")
"""From the strongest to the weakest: the same text, nearly the same, the evaluation text inside the training text, the
training text inside the evaluation text, alike in meaning by a model's vectors."""
NO_MATCH: Final = len(HOWS)


@dataclass(frozen=True)
class Matches:
    """M pairs of a training text and an evaluation text, sorted by both, each once with its strongest reason."""

    numbers: Rows  # (M,) of the training texts
    units: Rows  # (M,) of the evaluation texts
    hows: NDArray[np.int8]  # (M,) places in `HOWS`
    values: NDArray[np.float32]  # (M,) similarity: Jaccard, share contained, or cosine

    def __len__(self) -> int:
        return len(self.numbers)

    def where(self, kept: NDArray[np.bool_]) -> "Matches":
        """Some of them."""
        return Matches(self.numbers[kept], self.units[kept], self.hows[kept], self.values[kept])

    @staticmethod
    def of(numbers: Rows, units: Rows, how: How, values: NDArray[np.floating] | None = None) -> "Matches":
        """Pairs that match in one way; similarity 1 where none is given."""
        n = len(numbers)
        found = np.ones(n, np.float32) if values is None else np.asarray(values, dtype=np.float32)
        return Matches(numbers, units, np.full(n, HOWS.index(how), dtype=np.int8), found)

    @staticmethod
    def joined(parts: Iterable["Matches"]) -> "Matches":
        """All of them; of several reasons for a pair the strongest, of equals the greatest similarity."""
        none = Matches(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int8), np.empty(0, np.float32))
        every = [none, *parts]
        numbers, units, hows, values = (
            np.concatenate([getattr(one, name) for one in every]) for name in ("numbers", "units", "hows", "values")
        )
        order = np.lexsort((-values, hows, units, numbers))
        numbers, units = numbers[order], units[order]
        new = np.ones(len(order), dtype=np.bool_)
        new[1:] = (numbers[1:] != numbers[:-1]) | (units[1:] != units[:-1])
        return Matches(numbers[new], units[new], hows[order][new], values[order][new])


def strongest(places: Rows, hows: NDArray[np.int8], size: int) -> NDArray[np.int8]:
    """(size,) the strongest reason at each place; `NO_MATCH` where there is none."""
    found = np.full(size, NO_MATCH, dtype=np.int8)
    np.minimum.at(found, places, hows)
    return found
