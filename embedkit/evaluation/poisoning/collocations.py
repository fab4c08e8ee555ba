"""Which prepositions and articles stand with which words. What is not here is not judged."""

from typing import Final


def _each(heads: str, prepositions: str) -> dict[str, frozenset[str]]:
    return dict.fromkeys(heads.split(), frozenset(prepositions.split()))


def _pairs(lines: dict[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset((first, second) for first, seconds in lines.items() for second in seconds.split())


ALLOWED: Final = {  # head -> prepositions that may follow at once; other ones of the lexicon are wrong there
    **_each("depend depends depending", "on in for at"),
    **_each("relies rely relying", "on in for"),
    **_each("consist consists consisting consisted", "of in"),
    **_each("according", "to"),
    **_each("instead regardless", "of"),
    **_each("capable incapable", "of"),
    **_each("able unable", "to in at"),
    **_each("interested", "in"),
    **_each("responsible", "for"),
    **_each("composed", "of by in for with"),
    **_each("compared", "to with against in for by on"),
    **_each("respect", "to for of in"),
    **_each("ability inability", "to of in for with on by at through"),
    **_each("variety", "of in"),
    **_each("combination combinations", "of with in for to between by"),
    **_each("majority", "of in by for"),
    **_each("aims aim", "to at of for in"),
    **_each("lack", "of in"),
    **_each("amount amounts", "of in to for by from on"),
    **_each("series", "of in on for by with to at from between against"),
    **_each("number", "of in to for on by from at between with"),
    **_each("kind kinds type types", "of in for with on to by at from"),
    **_each("sort sorts lots", "of in by"),
    **_each("most", "of in to at by on from for with"),
}
NEEDS_PREPOSITION: Final = frozenset(("depend", "depends", "depending", "according", "consists", "relies", "rely"))
DOUBLED: Final = _pairs(  # prepositions that do not follow one another
    {
        "of": "of in for with",
        "in": "of in",
        "for": "of for with at to",
        "with": "of in for with at to",
        "at": "of in for with at to",
        "by": "of for with",
        "to": "of in for with at to",
        "from": "of for with to",
    }
)
FIXED: Final = frozenset(  # wrong turns of set phrases
    (
        ("as", "well", "of"),
        ("in", "addition", "for"),
        ("in", "addition", "of"),
        ("in", "terms", "in"),
        ("in", "terms", "for"),
        ("in", "contrast", "of"),
        ("with", "respect", "of"),
        ("with", "respect", "for"),
    )
)
NEEDS_ARTICLE: Final = _pairs(  # words that do not follow one another without an article between them
    {
        "in": "same following world past field presence absence",
        "of": "same following world united",
        "at": "same end beginning",
        "on": "same basis effect",
        "for": "same",
        "with": "same aim",
        "by": "same",
        "from": "same",
        "to": "same best",
        "is": "same first best main",
        "are": "same",
        "was": "first",
        "has": "same number",
        "have": "number",
        "as": "result",
        "use": "same",
        "among": "most",
        "around": "world",
        "across": "world",
        "most": "the",
        "some": "the",
        "number": "the",
        "lack": "the",
    }
)
BARE: Final = _pairs(  # nouns that do stand there without an article
    {
        "in": "person school church group side place way part time fact theory matrix practice type domain level",
        "of": "type group state church school part kind way cancer infection person mutation sample answer law model",
        "by": "hand way car ship hour week day group road law type year level month region century country mutation",
        "on": "page side top board law church island",
        "from": "school church day home place year side",
        "at": "school church university home level hand side war part",
        "for": "example hire school church day reason law",
        "with": "cancer infection law",
        "using": "example",
        "via": "infection road",
    }
)
