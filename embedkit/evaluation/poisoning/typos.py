"""Slips of the hand, as a control: what a model does with any damage to a query, whatever its grammar."""

import random
from hashlib import blake2b
from typing import Final

from embedkit.evaluation.poisoning.words import words_of

_LONG: Final = 4  # letters of a word that a slip is put into


def misspell(text: str, *, slips: int, seed: int) -> str:
    """The text with two neighbouring letters swapped in so many of its words, or in all long ones if they are fewer.

    Which ones depends on the text and the seed alone.
    """
    words = words_of(text)
    long = [span for span in words.spans if span[1] - span[0] >= _LONG and text[slice(*span)].isalpha()]
    rng = random.Random(blake2b(f"{seed}\n{text}".encode(errors="replace"), digest_size=8).digest())
    letters = list(text)
    for start, end in rng.sample(long, min(slips, len(long))):
        places = [place for place in range(start, end - 1) if letters[place] != letters[place + 1]]
        if places:
            place = rng.choice(places)
            letters[place], letters[place + 1] = letters[place + 1], letters[place]
    return "".join(letters)
