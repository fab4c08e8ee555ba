"""Grammar errors found in English texts by rules that look at a word and its neighbours.

Rules are few and careful: each looks at a few words between two breaks, knows its exceptions, and says nothing where
words are not in the lists. So most errors go unseen (about every tenth of those that `inject` makes is found), but of
edited English less than two words in a thousand are said to be wrong, some rightly. What counts for an audit is the
difference between texts.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedkit.evaluation.poisoning import lexicon as lx
from embedkit.evaluation.poisoning.collocations import (
    ALLOWED,
    BARE,
    DOUBLED,
    FIXED,
    NEEDS_ARTICLE,
    NEEDS_PREPOSITION,
)
from embedkit.evaluation.poisoning.injection import Kind
from embedkit.evaluation.poisoning.words import BREAK, Words, words_of

_VOWEL: Final = re.compile(r"[aeiou]")
_LIKE_YOU: Final = re.compile(
    r"(uni(?!n|m)|us[aeiu]|ut[eio]|eu|ubi|one|once|ura|uk)"
)  # vowels that begin with "y", "w"
_SILENT: Final = re.compile(r"(hour|honest|honou?r|heir|herb)")
_GLUE: Final = lx.listed("and or but that which who when where while because if as than to")
_CLOSING: Final = _GLUE | lx.PREPOSITIONS.keys() | lx.AGREEING.keys() | lx.MODALS | {BREAK}
_OPENING: Final = frozenset((BREAK, "and", "but", "that", "which", "because", "if", "when", "while", "as", "so"))
_ASKING: Final = lx.AGREEING.keys() | lx.MODALS | {"did", "let", "make", "makes", "made", "help", "helps", "see"}
_DETERMINERS: Final = lx.ARTICLES | {
    "our",
    "their",
    "its",
    "this",
    "these",
    "those",
    "each",
    "my",
    "your",
    "his",
    "her",
}
_HEADS: Final = lx.listed("in of for with on from at by using via")


@dataclass(frozen=True)
class Error:
    """A place of `words_of(text)` where a rule found an error."""

    kind: Kind
    place: int
    shown: str  # the words it is about


def find_errors(text: str) -> list[Error]:
    """Errors in the order of the text, at most one a place."""
    found = words_of(text)
    return [
        Error(kind, place, " ".join(filter(None, found.words[place - 1 : place + 3])))
        for place, kind in errors_of(found).items()
    ]


def errors_of(found: Words) -> dict[int, Kind]:
    """Places with an error, and its kind."""
    places = (place for place, word in enumerate(found.words) if word in _LOOKED_AT)
    return {place: kind for place in places if (kind := _wrong(found, place)) is not None}


def error_counts(texts: Iterable[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(n,) errors and (n,) words of n texts."""
    found = [words_of(text) for text in texts]
    counts = np.array([(len(errors_of(words)), words.count) for words in found], dtype=np.int64).reshape(-1, 2)
    return counts[:, 0], counts[:, 1]


def _wrong(found: Words, place: int) -> Kind | None:
    """Which kind of rule finds this word wrong, if one does."""
    words = (*found.words[max(place - 2, 0) : place], *found.words[place : place + 4], BREAK, BREAK)
    if place == 1:
        words = (BREAK, *words)
    view = _View(*words[:6])
    if _is_name(found, place):
        return None
    return next((kind for kind, rule in _RULES if rule(view)), None)


def _is_name(found: Words, place: int) -> bool:
    """Whether the word or the next one is written as names and acronyms are."""
    shown, after = found.shown(place), found.shown(place + 1)
    inside = found.words[place - 1] != BREAK
    return (inside and shown[:1].isupper() and len(shown) > 1) or after[:1].isupper() or after[1:2].isupper()


@dataclass(frozen=True, slots=True)
class _View:
    """A word with two before and three after it."""

    before2: str
    before: str
    word: str
    after: str
    after2: str
    after3: str


def _article(v: _View) -> bool:
    if v.word in ("a", "an") and len(v.after) > 1:
        vowel = bool(_SILENT.match(v.after) or (_VOWEL.match(v.after) and not _LIKE_YOU.match(v.after)))
        if vowel != (v.word == "an"):
            return True
    if v.word in lx.ARTICLES and v.after in lx.ARTICLES and v.after != "a":
        return True
    if (v.word, v.after) in NEEDS_ARTICLE:
        return v.before not in _DETERMINERS
    return v.word in _HEADS and v.after in lx.COUNTED and v.after2 in _CLOSING and (v.word, v.after) not in BARE


def _number(v: _View) -> bool:
    if v.word in lx.SINGULAR_DETERMINERS:
        many = lx.singular(v.after) is not None or v.after in _UNCOUNTED_PLURALS or v.after in lx.UNCOUNTED
        return many and v.after2 in _CLOSING and v.before != "such"
    if v.word in lx.PLURAL_DETERMINERS and v.before not in ("one", "these", "those"):
        return lx.is_singular(v.after) and v.after2 in _CLOSING
    return v.word in _UNCOUNTED_PLURALS


def _verb(v: _View) -> bool:
    return _agreement(v) or _form(v)


def _agreement(v: _View) -> bool:
    opens = v.before in _OPENING
    if v.word in lx.SINGULAR_SUBJECTS and v.before not in _ASKING | {"if", "were"} and v.before not in lx.PREPOSITIONS:
        return v.after in ("are", "have", "do", "am") or (v.after in lx.ONLY_VERBS and opens)
    if v.word in lx.PLURAL_SUBJECTS:
        return v.after in ("is", "was", "has", "does") or (opens and v.after in _ONLY_THIRD)
    if v.word == "i":
        return opens and (v.after in ("is", "are", "has", "does") or v.after in _ONLY_THIRD)
    if v.word == "this":
        return lx.is_singular(v.after) and v.after2 in ("are", "were", "have") and opens
    if v.word in ("these", "those") or (v.word in ("the", "our") and opens):
        plural = lx.singular(v.after) is not None
        if plural and v.after2 in ("is", "was", "has"):
            return opens
    if v.word in ("the", "our", "a", "an") and opens:
        return lx.is_singular(v.after) and v.after2 in ("are", "were", "have")
    return v.word == "there" and v.after in ("are", "were") and v.after2 in ("a", "an", "no one", "one")


def _form(v: _View) -> bool:
    """The form after a modal, after "to", after be and have."""
    if v.word in lx.MODALS and v.before not in lx.ARTICLES:
        verb = v.after2 if v.after == "also" else v.after
        return verb in _ONLY_THIRD or verb in _ONLY_PAST or verb in _ONLY_GERUNDS
    if v.word == "to":
        return v.after in _ONLY_THIRD or v.after in _CLEAR_PAST
    if v.word in ("is", "are", "was", "were", "be", "been"):
        asking = v.before in ("how", "what", "why", "where")
        return not asking and (v.after in _PLAIN or v.after in _ONLY_THIRD)
    if v.word in ("has", "have", "had") and v.after in _PLAIN:
        return True
    return v.word in ("does", "did", "doesn't", "didn't", "don't") and v.after in _ONLY_THIRD


def _preposition(v: _View) -> bool:
    if (v.word, v.after) in DOUBLED:
        return True
    if (wanted := ALLOWED.get(v.word)) is None:
        return (v.word, v.after, v.after2) in FIXED
    wrong = v.after in lx.PREPOSITIONS and v.after not in wanted
    missing = v.after in _DETERMINERS and v.word in NEEDS_PREPOSITION and v.before not in ("to", *lx.MODALS)
    return wrong or missing or (v.word, v.after, v.after2) in FIXED


def _confusion(v: _View) -> bool:
    w, after = v.word, v.after
    if after == "then":
        return w in ("more", "less", "better", "rather", "other", "fewer", "larger", "smaller", "higher", "lower")
    if w == "than":
        return v.before in (BREAK, "and") and after in ("the", "we", "it", "they", "a")
    if w == "their":
        return after in lx.AGREEING or after in lx.MODALS or after in lx.ARTICLES
    if w == "there":
        return after in ("own", "respective") or lx.singular(after) is not None
    if w == "it's":
        return after == "own" or lx.is_singular(after) or lx.singular(after) is not None
    if w == "its":
        return after in ("a", "an", "the", "not", "been", "also")
    if w in ("many", "fewer"):
        return after in lx.UNCOUNTED or (w == "many" and after in ("more", "less") and lx.is_singular(v.after2))
    if w == "much":
        return lx.singular(after) is not None
    if w == "effect":
        return v.before in ("to", "not", *lx.MODALS) and after in _DETERMINERS
    return w == "affect" and v.before in ("the", "an", "no", "this")


_UNCOUNTED_PLURALS: Final = frozenset(map(lx.plural, lx.UNCOUNTED)) - {"researches", "progresses", "advices"}
_ONLY_THIRD: Final = frozenset(map(lx.third_person, lx.ONLY_VERBS)) | {"shows", "uses", "has", "is", "does"}
_ONLY_GERUNDS: Final = frozenset(map(lx.gerund, lx.ONLY_VERBS)) | {"using", "showing"}
_BARE: Final = frozenset(lx.ONLY_VERBS | lx.OFTEN_NOUNS)
_ONLY_PAST: Final = frozenset(map(lx.past, lx.VERBS)) - _BARE - {"found", "left", "led"}
_CLEAR_PAST: Final = frozenset(lx.past(v) for v in lx.IRREGULAR if lx.past(v) != lx.participle(v)) - _BARE - {"saw"}
_PLAIN: Final = lx.ONLY_VERBS - frozenset(map(lx.participle, lx.VERBS)) - {"prefer", "determine", "sell", "pay", "say"}
_LOOKED_AT: Final = (
    lx.ARTICLES
    | lx.SINGULAR_DETERMINERS
    | lx.PLURAL_DETERMINERS
    | lx.SINGULAR_SUBJECTS
    | lx.PLURAL_SUBJECTS
    | lx.MODALS
    | _UNCOUNTED_PLURALS
    | _HEADS
    | ALLOWED.keys()
    | {first for first, *_ in (*FIXED, *DOUBLED, *NEEDS_ARTICLE)}
    | lx.listed("i this these those our there to is are was were be been has have had does did doesn't didn't don't")
    | lx.listed("more less better rather other fewer larger smaller higher lower than their it's its many much")
    | {"effect", "affect"}
)
_RULES: Final[Sequence[tuple[Kind, Callable[[_View], bool]]]] = (
    ("article", _article),
    ("number", _number),
    ("verb", _verb),
    ("preposition", _preposition),
    ("confusion", _confusion),
)
