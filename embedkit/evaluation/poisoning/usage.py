"""What a collection's own texts tell about how its words are used, and which places of a text go against it.

A place is odd where three words in a row (the word and its neighbours) are in no other text, but would be in several
if the word were one it is often confused with (another preposition or article, another form of the noun or the verb),
or if an article or preposition stood after it. No grammar is known, so a text is judged by its peers: this works from
some thousand texts of one field on, and not for copies of one another, which are each other's peers.

The idea, to hold a word against what could stand in its place, is that of context-sensitive spelling correction
(https://doi.org/10.1023/A:1007545901558); the score is ours.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Final

from embedkit.evaluation.poisoning import lexicon as lx
from embedkit.evaluation.poisoning.words import BREAK, Words, words_of

Run = tuple[str, str, str]
_LEAST: Final = 2  # other texts' runs that must speak for another word
_LEFT_OUT: Final = ("the", "a", "an", "of", "in", "to", "on", "for", "with")  # what may be missing between two words
_MOST: Final = 1_000_000  # words that are counted: about 150 MB


class Usage:
    """Runs of two and three words of a collection, and how often they are there."""

    def __init__(self, texts: Sequence[str]) -> None:
        letters = sum(map(len, texts[:: max(1, len(texts) // 1000)])) * max(1, len(texts) // 1000)
        self._step = max(1, math.ceil(letters / 6 / _MOST))  # of larger collections, every so-manieth text
        self._two, self._three = Counter[tuple[str, str]](), Counter[Run]()
        for text in texts[:: self._step]:
            words = words_of(text).words
            self._two.update(pairwise(words))
            self._three.update(runs(words))

    def odd_places(self, found: Words, number: int) -> Iterator[tuple[int, float]]:
        """Places of text `number` of the collection, and the log of how often its peers have it otherwise."""
        own = number % self._step == 0
        two = Counter(pairwise(found.words)) if own else Counter[tuple[str, str]]()
        three = Counter(runs(found.words)) if own else Counter[Run]()
        for place, (before, word, after) in enumerate(runs(found.words), 1):
            if word == BREAK:
                continue
            best = 0
            if self._three[before, word, after] <= three[before, word, after]:
                best = max((self._three[before, other, after] for other in confusable(word)), default=0)
            if after and self._two[word, after] <= two[word, after]:
                best = max(best, *(self._three[word, other, after] for other in _LEFT_OUT))
            if best >= _LEAST:
                yield place, math.log(best)


def runs(words: Sequence[str]) -> Iterator[Run]:
    """All three words in a row, breaks counted as words."""
    return zip(words, words[1:], words[2:], strict=False)


@cache
def confusable(word: str) -> tuple[str, ...]:
    """What the word may stand in place of."""
    if word in lx.ARTICLES:
        found = set(lx.ARTICLES)
    elif word in lx.PREPOSITIONS:
        found = set(lx.PREPOSITIONS)
    else:
        found = {right for right, wrong in lx.CONFUSED.items() if word in wrong}
        found |= _AGREEING if word in _AGREEING else frozenset()
        base = lx.THIRD.get(word) or lx.GERUND.get(word) or lx.PAST.get(word) or lx.PARTICIPLE.get(word) or word
        if base in lx.VERBS:
            found |= {base, lx.third_person(base), lx.gerund(base), lx.past(base), lx.participle(base)}
        if lx.is_singular(word) or word in lx.UNCOUNTED:
            found.add(lx.plural(word))
        found |= {base} if (base := lx.singular(word) or "") else set()
        found |= {noun for noun in lx.UNCOUNTED if lx.plural(noun) == word}
    return tuple(sorted(found - {word}))


_AGREEING: Final = lx.listed("is are was were be has have do does")
