"""A text as words, and the breaks between them that no rule of grammar reaches across."""

import re
from dataclasses import dataclass
from typing import Final

_WORD: Final = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
BREAK: Final = ""  # stands in `words` where something other than white space is between two words


@dataclass(frozen=True)
class Words:
    """Words in lower case, breaks between phrases, and where each stands in the text. Begins and ends with a break."""

    text: str
    words: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]  # of a break: an empty span

    @property
    def count(self) -> int:
        """How many words there are, breaks left out."""
        return sum(map(bool, self.words))

    def shown(self, place: int) -> str:
        """The word as it stands in the text."""
        start, end = self.spans[place]
        return self.text[start:end]


def words_of(text: str) -> Words:
    """The words of a text; digits, symbols and punctuation are breaks."""
    words, spans, end = [BREAK], [(0, 0)], 0
    for match in _WORD.finditer(text):
        if len(words) > 1 and not text[end : match.start()].isspace():
            words.append(BREAK)
            spans.append((end, end))
        words.append(match[0].lower().replace("’", "'"))
        spans.append(match.span())
        end = match.end()
    return Words(text, (*words, BREAK), (*spans, (end, end)))
