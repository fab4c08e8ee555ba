"""How much is wrong with the English of each text of a collection: what rules find, and what its peers' usage tells."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedkit.core.progress import Progress, silent
from embedkit.evaluation.poisoning.detection import errors_of
from embedkit.evaluation.poisoning.usage import Usage, runs
from embedkit.evaluation.poisoning.words import words_of

Doubles = NDArray[np.float64]
Rows = NDArray[np.int64]
_RULE: Final = 2.0  # weight of an error that a rule finds; of an odd place, it is the log of how its peers have it


@dataclass(frozen=True)
class Oddness:
    """What was found in n texts."""

    weights: Doubles  # (n,) of all that was found
    errors: Rows  # (n,) what rules found
    words: Rows  # (n,)

    @property
    def scores(self) -> Doubles:
        """(n,) (weight - mean · words) / √words, with the collection's mean weight of a word: comparable over lengths.

        0 for a text without words.
        """
        mean = float(self.weights.sum()) / max(int(self.words.sum()), 1)
        scaled = (self.weights - mean * self.words) / np.sqrt(np.maximum(self.words, 1))
        return np.asarray(np.where(self.words > 0, scaled, 0.0), dtype=np.float64)


def oddness(texts: Sequence[str], *, copied: Sequence[str] = (), progress: Progress = silent) -> Oddness:
    """What is odd in each of n texts, seen against all of them.

    `copied` (n,), if given, holds a text beside each: what stands in both in the same words is not counted, because a
    pair would otherwise seem to go together by quoting. About 20 microseconds a word.
    """
    with progress("usage", None):
        usage = Usage(texts)
    found = np.zeros((len(texts), 3))
    with progress("oddness", len(texts)) as advance:
        for number, text in enumerate(texts):
            words = words_of(text)
            shared = set(runs(words_of(copied[number]).words)) if copied else set()
            places = {} if not shared else {p for p, run in enumerate(runs(words.words), 1) if run in shared}
            errors = [place for place in errors_of(words) if place not in places]
            odd = [weight for place, weight in usage.odd_places(words, number) if place not in places]
            found[number] = _RULE * len(errors) + sum(odd), len(errors), words.count
            advance(1)
    return Oddness(found[:, 0], found[:, 1].astype(np.int64), found[:, 2].astype(np.int64))
