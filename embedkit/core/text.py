"""When two texts are the same."""

import unicodedata


def normalised(text: str) -> str:
    """What exact comparison sees: compatibility forms, case and white space made one. Idempotent."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())
