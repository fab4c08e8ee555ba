"""Errors a user can cause and mend. Each message says where, what was found and what would be right.

    EmbedkitError        exit code 2, printed without a traceback
    ├── RecipeError      the recipe, or an option that changes it
    ├── DataError        rows, ids or files a stage was given
    ├── ModelError       a model folder or hub model
    ├── ArtifactError    something in the store is not what it should be
    └── StageError       a stage found that its result would be useless (NaN loss, a teacher worse than its student)

Anything else that escapes is a bug of embedkit's and keeps its traceback.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class EmbedkitError(Exception):
    """A problem the user can mend; `problems` holds one line each."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems: tuple[str, ...] = problems


class RecipeError(EmbedkitError):
    """The recipe cannot be planned."""


class DataError(EmbedkitError):
    """Input rows or files are not usable."""


class ModelError(EmbedkitError):
    """A model cannot be loaded safely, or is not what it was said to be."""


class ArtifactError(EmbedkitError):
    """An artifact or a file of the store is missing, damaged or of an unknown format."""


class StageError(EmbedkitError):
    """A stage ran and found that its result must not be used."""


class ToldElsewhere(StageError):
    """Another process of the launch has found the same, and can say more of it."""


@dataclass(frozen=True)
class Problem:
    """Something wrong at a place inside a file's data, before the place is known as a line."""

    where: tuple[str | int, ...]
    message: str

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.where))}: {self.message}" if self.where else self.message


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` when a known word is close to `word`, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def first_few(problems: Sequence[str], *, limit: int = 20) -> list[str]:
    """The first `limit` problems, and a line that counts the rest."""
    rest = len(problems) - limit
    return [*problems[:limit], f"... and {rest} more"] if rest > 0 else list(problems)
