"""What a document's text is, when two texts are the same, and where words end."""

import unicodedata
from typing import Final

# Thai, Lao, Khmer, Kana and Han, as ranges of a regular expression's [...]: scripts without spaces between words.
WITHOUT_SPACES: Final = "\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"


def document_text(title: str, text: str) -> str:
    """Title and text as one string, as BEIR and mteb join them."""
    return f"{title} {text}".strip()


def normalised(text: str) -> str:
    """What exact comparison sees: compatibility forms, case and white space made one. Idempotent."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())
