"""How long work shows how far it is, without knowing who watches."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

Advance = Callable[[int], None]
Emit = Callable[[str, Mapping[str, Any]], None]


class Progress(Protocol):
    """Shows the progress of named pieces of work."""

    def __call__(self, what: str, total: int | None) -> AbstractContextManager[Advance]:
        """A context manager that gives `advance(n)` for a piece of work of `total` units (None: unknown)."""
        ...


@contextmanager
def silent(what: str, total: int | None) -> Iterator[Advance]:
    """A `Progress` that shows nothing."""
    yield lambda _: None


def ignore(event: str, facts: Mapping[str, Any]) -> None:
    """An `Emit` that drops every event."""
