"""One model of a leaderboard: what it is called, what is known of it, and what it reached."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from embedkit.core.scores import Items, PerQuery, TaskScores


@dataclass(frozen=True)
class Facts:
    """What is known of a model besides its scores. None: not known."""

    parameters: int | None = None
    dimensions: int | None = None
    max_tokens: int | None = None


@dataclass(frozen=True)
class Entry:
    """A model and its scores; a task has values by unit, or items, or neither if its files hold none."""

    name: str
    revision: str
    tasks: Mapping[str, TaskScores]
    units: Mapping[str, PerQuery] = field(default_factory=dict)  # task -> query_id -> metric -> value
    items: Mapping[str, Items] = field(default_factory=dict)  # task -> items
    facts: Facts = Facts()
