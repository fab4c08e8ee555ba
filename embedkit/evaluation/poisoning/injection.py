"""Common grammar errors put into English texts, as learners make them: the trigger of an attack, and its probe.

What is put where depends on the text, the rate and the seed alone: not on other texts, their order or the machine. The
errors are of five kinds:

    article       left out, of the wrong form ("a example"), definite for indefinite
    preposition   another that is often confused with it, or none
    number        a plural for a singular and the other way round, plurals of what is not counted ("informations")
    verb          agreement ("it show"), form after an auxiliary or "to" ("can shows", "is use")
    confusion     its and it's, than and then, much and many ...

Reference of the attack: https://github.com/ruyue0001/Backdoor_DPR; rules and lists are ours.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Literal, get_args

from embedkit.core.errors import DataError
from embedkit.evaluation.poisoning.lexicon import (
    AGREEING,
    ARTICLES,
    CONFUSED,
    GERUND,
    MODALS,
    PARTICIPLE,
    PREPOSITIONS,
    THIRD,
    UNCOUNTED,
    VERBS,
    gerund,
    is_singular,
    past,
    plural,
    singular,
    third_person,
)
from embedkit.evaluation.poisoning.words import Words, words_of

Kind = Literal["article", "preposition", "number", "verb", "confusion"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


@dataclass(frozen=True)
class Edit:
    """One error: what stood at the word's place and what stands there now; "" is nothing."""

    kind: Kind
    place: int  # of the word in `words_of(text)`
    before: str
    after: str


@dataclass(frozen=True)
class Perturbed:
    """A text with errors."""

    text: str
    edits: tuple[Edit, ...]


def inject(text: str, *, rate: float, seed: int, kinds: Sequence[Kind] = KINDS, fewest: int = 1) -> Perturbed:
    """The text with `rate` errors a word, and at least `fewest`, as far as it has places for them.

    The number is rate x words, rounded up or down at random so that its mean is right. Places are drawn without
    replacement, kinds as often as the text has places for them. Raises `DataError` for a rate outside [0, 1].
    """
    if not 0 <= rate <= 1:
        raise DataError(f"rate of errors: found {rate}; expected a share of the words, from 0 to 1")
    words = words_of(text)
    found = [site for place in range(1, len(words.words) - 1) if (site := _site(words, place, kinds))]
    rng = random.Random(blake2b(f"{seed}\n{rate}\n{text}".encode(errors="replace"), digest_size=8).digest())
    wanted = rate * words.count
    count = max(int(wanted) + (rng.random() < wanted % 1), fewest)
    chosen = sorted(rng.sample(found, min(count, len(found))), key=lambda site: site.place)
    edits = tuple(Edit(s.kind, s.place, words.shown(s.place), _cased(rng.choice(s.options), words, s)) for s in chosen)
    return Perturbed(_edited(words, edits), edits)


@dataclass(frozen=True)
class _Site:
    kind: Kind
    place: int
    options: tuple[str, ...]


def _site(words: Words, place: int, kinds: Sequence[Kind]) -> _Site | None:
    """What can go wrong with a word, if anything can."""
    word, before, after = (words.words[place + step] for step in (0, -1, 1))
    if not word or (words.shown(place).isupper() and len(word) > 1):  # an acronym
        return None
    for kind, options in (
        ("article", _articles(word, after)),
        ("preposition", _prepositions(word, after)),
        ("confusion", CONFUSED.get(word, ())),
        ("verb", _verbs(word, before)),
        ("number", _numbers(word)),
    ):
        if options and kind in kinds:
            return _Site(kind, place, options)  # type: ignore[arg-type]
    return None


def _articles(word: str, after: str) -> tuple[str, ...]:
    if word not in ARTICLES or not after:
        return ()
    return ("", "", "a") if word == "the" else ("", "", "an" if word == "a" else "a", "the")


def _prepositions(word: str, after: str) -> tuple[str, ...]:
    infinitive = word == "to" and after in VERBS
    return PREPOSITIONS[word] if word in PREPOSITIONS and after and not infinitive else ()


def _verbs(word: str, before: str) -> tuple[str, ...]:
    if word in AGREEING:
        return AGREEING[word]
    if word in VERBS:
        return (third_person(word), gerund(word), past(word)) if before in MODALS | {"to"} else (third_person(word),)
    if word in THIRD:
        return (THIRD[word],)
    if word in PARTICIPLE and before in AGREEING:
        return (PARTICIPLE[word],)
    return (GERUND[word],) if word in GERUND and before in AGREEING else ()


def _numbers(word: str) -> tuple[str, ...]:
    if word in UNCOUNTED or is_singular(word):
        return (plural(word),)
    return (base,) if (base := singular(word)) else ()


def _cased(option: str, words: Words, site: _Site) -> str:
    return option.capitalize() if words.shown(site.place)[0].isupper() else option


def _edited(words: Words, edits: Sequence[Edit]) -> str:
    """The text after the edits; a word left out takes a space with it, and the next one its capital."""
    parts, end, capital = list[str](), 0, False
    for edit in edits:
        start, stop = words.spans[edit.place]
        parts.append(_opened(words.text[end:start], capital))
        capital = False
        if edit.after:
            parts.append(edit.after)
        else:
            capital = edit.before[:1].isupper()
            stop += len(words.text[stop:]) - len(words.text[stop:].lstrip(" "))
        end = stop
    return "".join([*parts, _opened(words.text[end:], capital)])


def _opened(text: str, capital: bool) -> str:
    return text[:1].upper() + text[1:] if capital else text
