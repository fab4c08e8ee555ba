"""English words whose forms are known for sure, and what learners confuse them with.

The lists are short on purpose: a word that may be of another class ("use", "results") stands where that does no harm,
and rules that must not be wrong ask for words that are of one class only. The kinds of errors are those of learner
corpora (articles, prepositions, number, verb forms, confused words), the lists are ours.
Reference: https://aclanthology.org/W13-1703/ (NUCLE, the kinds).
"""

from typing import Final


def listed(words: str) -> frozenset[str]:
    """The words between white space."""
    return frozenset(words.split())


ARTICLES: Final = frozenset(("a", "an", "the"))
PREPOSITIONS: Final = {  # -> what learners write instead; "" is a preposition left out
    "about": ("of", "on", "for"),
    "against": ("to", "with"),
    "among": ("of", "in"),
    "at": ("in", "on", "to"),
    "between": ("among", "of"),
    "by": ("with", "from", "of"),
    "during": ("in", "on"),
    "for": ("of", "to", "from", ""),
    "from": ("of", "by", "for"),
    "in": ("on", "at", "of", ""),
    "into": ("to", "in"),
    "of": ("in", "from", "for", ""),
    "on": ("in", "at", "of", ""),
    "through": ("by", "of"),
    "to": ("for", "at", "of", ""),
    "under": ("in", "at"),
    "with": ("by", "of", "to", ""),
    "without": ("with", "out"),
}
CONFUSED: Final = {
    **dict.fromkeys(("their",), ("there", "they're")),
    **dict.fromkeys(("there",), ("their",)),
    "its": ("it's",),
    "it's": ("its",),
    "than": ("then",),
    "then": ("than",),
    "too": ("to",),
    "your": ("you're",),
    "whose": ("who's",),
    "affect": ("effect",),
    "effect": ("affect",),
    "lose": ("loose",),
    "much": ("many",),
    "many": ("much",),
    "fewer": ("less",),
    "less": ("fewer",),
    "which": ("what",),
    "however": ("but",),
    "because": ("since of",),
}
MODALS: Final = listed("can could will would should may might must cannot")
BE: Final = {"is": ("are", "be"), "are": ("is", "be"), "was": ("were", "is"), "were": ("was", "are")}
HAVE: Final = {"has": ("have",), "have": ("has",)}
DO: Final = {"does": ("do",), "do": ("does",)}
AGREEING: Final = BE | HAVE | DO
SINGULAR_SUBJECTS: Final = frozenset(("he", "she", "it"))
PLURAL_SUBJECTS: Final = frozenset(("we", "they", "you"))
SINGULAR_DETERMINERS: Final = frozenset(("a", "an", "each", "every", "another"))
PLURAL_DETERMINERS: Final = listed(
    "these those many several few various both two three four five six seven eight nine ten numerous"
)

IRREGULAR: Final = {  # base -> past, participle
    "be": ("was", "been"),
    "become": ("became", "become"),
    "begin": ("began", "begun"),
    "bring": ("brought", "brought"),
    "build": ("built", "built"),
    "buy": ("bought", "bought"),
    "catch": ("caught", "caught"),
    "choose": ("chose", "chosen"),
    "come": ("came", "come"),
    "do": ("did", "done"),
    "draw": ("drew", "drawn"),
    "eat": ("ate", "eaten"),
    "feel": ("felt", "felt"),
    "find": ("found", "found"),
    "forget": ("forgot", "forgotten"),
    "get": ("got", "got"),
    "give": ("gave", "given"),
    "go": ("went", "gone"),
    "grow": ("grew", "grown"),
    "have": ("had", "had"),
    "hear": ("heard", "heard"),
    "hold": ("held", "held"),
    "keep": ("kept", "kept"),
    "know": ("knew", "known"),
    "lead": ("led", "led"),
    "leave": ("left", "left"),
    "lose": ("lost", "lost"),
    "make": ("made", "made"),
    "mean": ("meant", "meant"),
    "meet": ("met", "met"),
    "pay": ("paid", "paid"),
    "run": ("ran", "run"),
    "say": ("said", "said"),
    "see": ("saw", "seen"),
    "sell": ("sold", "sold"),
    "send": ("sent", "sent"),
    "show": ("showed", "shown"),
    "speak": ("spoke", "spoken"),
    "spend": ("spent", "spent"),
    "stand": ("stood", "stood"),
    "take": ("took", "taken"),
    "teach": ("taught", "taught"),
    "tell": ("told", "told"),
    "think": ("thought", "thought"),
    "understand": ("understood", "understood"),
    "wear": ("wore", "worn"),
    "win": ("won", "won"),
    "write": ("wrote", "written"),
}
ONLY_VERBS: Final = listed(  # whose forms are no nouns
    """achieve adopt allow analyze apply argue arise assume become begin believe bring buy choose combine compare
    compute consider contain contribute create decide define deliver demonstrate depend derive describe determine
    develop discover discuss eat employ enable encourage enhance enjoy ensure establish evaluate examine exist expand
    expect explain extend facilitate follow forget generate give go grow happen hear identify illustrate imagine
    improve include incorporate indicate infer integrate introduce investigate involve join keep know learn lose
    maintain make minimize maximize modify obtain observe occur optimize outperform perform predict prefer prepare
    prevent propose protect prove provide publish realize receive recognize reduce refer rely remain remember remove
    represent require reveal say see seem select send serve solve speak submit suffer suggest take teach tell think
    understand utilize want wear write get conduct pay sell"""
)
OFTEN_NOUNS: Final = listed(
    """show use result work study model test change need help start end cause report focus aim measure estimate increase
    decrease control form plan call run play move look turn support offer process claim design attempt train lead
    affect build find draw hold stand win leave mean feel spend meet"""
)
COUNTED: Final = listed(
    """method problem paper approach algorithm system task framework dataset student patient disease person country
    city book house network image feature parameter function example experiment answer language document user agent
    policy game node graph layer neuron cell gene protein drug symptom child woman man family doctor hospital school
    teacher government army king party leader president company market product price team player season album song
    film episode character story ship battle soldier river island road station church building village year month
    week day hour century group member kind type level area region point part side way thing idea reason fact car
    computer machine program file folder command page key nation citizen law tax job worker farmer weapon enemy
    friend procedure technique architecture classifier representation classification distribution property theory
    theorem variable vector matrix domain sample mechanism structure tool strategy solution benchmark result model
    study tree cancer tumor infection mutation receptor antibody sequence trial cohort outcome"""
)
UNCOUNTED: Final = listed(
    """information evidence research knowledge advice equipment furniture software hardware literature traffic homework
    progress machinery baggage luggage"""
)
_ODD_PLURALS: Final = {"child": "children", "woman": "women", "man": "men", "person": "people", "matrix": "matrices"}
_NOUN_ENDINGS: Final = ("tion", "sion", "ment", "ness", "ity", "ance", "ence", "ship", "ism", "logy")
_NO_NOUNS: Final = listed("mention question function hence whence once since experience influence reference")


def plural(noun: str) -> str:
    """method -> methods, city -> cities, child -> children."""
    if noun in _ODD_PLURALS:
        return _ODD_PLURALS[noun]
    return _with_s(noun)


def third_person(verb: str) -> str:
    """show -> shows, apply -> applies, go -> goes."""
    return {"have": "has", "be": "is", "do": "does", "go": "goes"}.get(verb) or _with_s(verb)


def gerund(verb: str) -> str:
    """show -> showing, use -> using, get -> getting."""
    if verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")) and verb != "be":
        return verb[:-1] + "ing"
    return _doubled(verb) + "ing"


def past(verb: str) -> str:
    """show -> showed, take -> took."""
    if verb in IRREGULAR:
        return IRREGULAR[verb][0]
    if verb.endswith("e"):
        return verb + "d"
    return verb[:-1] + "ied" if verb[-1] == "y" and verb[-2] not in "aeiou" else _doubled(verb) + "ed"


def participle(verb: str) -> str:
    """show -> shown, use -> used."""
    return IRREGULAR[verb][1] if verb in IRREGULAR else past(verb)


def is_singular(word: str) -> bool:
    """Whether the word is a noun that is counted, in the singular."""
    return word in COUNTED or (len(word) > 6 and word.endswith(_NOUN_ENDINGS) and word not in _NO_NOUNS)


def singular(word: str) -> str | None:
    """What the word is the plural of; None if it is no plural that is known."""
    if word in _SINGULARS:
        return _SINGULARS[word]
    base = word[:-3] + "y" if word.endswith("ities") else word[:-2] if word.endswith("nesses") else word[:-1]
    return base if len(word) > 7 and word.endswith("s") and base.endswith(_NOUN_ENDINGS) else None


def _with_s(word: str) -> str:
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    return word[:-1] + "ies" if word.endswith("y") and word[-2] not in "aeiou" else word + "s"


def _doubled(verb: str) -> str:
    return verb + verb[-1] if verb in _DOUBLING else verb


_DOUBLING: Final = listed("begin forget get infer occur plan prefer refer run stop submit win")
_SINGULARS: Final = {plural(noun): noun for noun in sorted(COUNTED)}
VERBS: Final = ONLY_VERBS | OFTEN_NOUNS
THIRD: Final = {third_person(verb): verb for verb in sorted(VERBS)}
GERUND: Final = {gerund(verb): verb for verb in sorted(VERBS)}
PARTICIPLE: Final = {participle(verb): verb for verb in sorted(VERBS)}
PAST: Final = {past(verb): verb for verb in sorted(VERBS)}
