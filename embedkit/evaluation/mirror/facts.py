"""What a mirror has to know of an official task; said by `embedkit.evaluation.official`, which asks mteb."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from embedkit.core.errors import DataError

Kind = Literal["text", "number", "binary", "class", "texts", "classes"]


@dataclass(frozen=True)
class TaskFacts:
    """An official task and its data set."""

    name: str
    type: str  # mteb's word, e.g. Retrieval, STS
    path: str  # repository on the hub
    revision: str  # pinned commit
    mteb: str  # version
    splits: tuple[str, ...]  # what must be there: those evaluated on, and what a classifier is trained on
    multilingual: bool = False
    plain: bool = True  # the class reads its data in the way of its type, and does not rearrange it
    columns: Mapping[str, Kind] = field(default_factory=dict)  # of a task that is one table; empty for others


def check_buildable(facts: TaskFacts, source: str, *, types: tuple[str, ...]) -> None:
    """Raise `DataError` unless an entry for the task can be built from local files of one of these types of task."""
    hub = f"only a copy from the hub serves it: `embedkit mirror {facts.name} --to DIR`"
    if facts.type not in types:
        raise DataError(
            f"{facts.name}: is a task of type {facts.type}; {source} is for {' or '.join(types)}, and {hub}"
        )
    if facts.multilingual:
        raise DataError(f"{facts.name}: has a subset for each language, {source} makes only one; {hub}")
    if not facts.plain:
        raise DataError(
            f"{facts.name}: mteb's class reads or rearranges its data in a way of its own, "
            f"which {source} does not know; {hub}"
        )


def choose_splits(
    facts: TaskFacts, available: list[str], chosen: Mapping[str, tuple[str, ...]], where: str
) -> dict[str, tuple[str, ...]]:
    """Official split -> the splits found locally that make it: as `chosen`, else the one of its name.

    `dev`, `validation` and `val` are one name. Splits that the task does not use come along under their own names.
    Raises `DataError` if one that it needs is not there.
    """
    for official, parts in chosen.items():
        if missing := [part for part in parts if part not in available]:
            raise DataError(f"{where}: split {official!r} is to be made of {missing[0]!r}; it has {available}")
    found = dict(chosen)
    spoken_for = {part for parts in chosen.values() for part in parts}
    for official in facts.splits:
        same = [part for part in available if _plain(part) == _plain(official)]
        if official not in found and not same:
            raise DataError(
                f"{where}: {facts.name} needs a split {official!r}; found {available}. "
                f"`--split {official}=NAME` says which it is, NAME+NAME puts some together"
            )
        found.setdefault(official, tuple(same[:1]))
        spoken_for.update(found[official])
    return found | {part: (part,) for part in available if part not in spoken_for and part not in found}


def _plain(split: str) -> str:
    return "dev" if split in ("validation", "val", "valid") else split
