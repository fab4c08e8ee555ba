"""YAML with places: plain data, and the line each part came from. Safe: no tags, no objects, no duplicate keys."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from embedkit.core.errors import Problem, RecipeError

_LIMIT = 100_000  # entries; a recipe has hundreds


@dataclass(frozen=True, order=True)
class Place:
    """Where something stands: a line of the file, or the command-line option that set it."""

    line: int
    text: str


@dataclass
class Document:
    """A parsed file. `value` is dicts, lists and scalars; `where` finds the place of a location in it."""

    value: Any
    source: str
    problems: list[Problem] = field(default_factory=list)
    _lines: dict[tuple[str | int, ...], int] = field(default_factory=dict)
    _set: dict[tuple[str | int, ...], str] = field(default_factory=dict)

    def where(self, location: tuple[str | int, ...]) -> Place:
        """The place of `location`, or of the nearest thing around it that the file has."""
        for length in range(len(location), -1, -1):
            if (option := self._set.get(location[:length])) is not None:
                return Place(0, option)
            if (line := self._lines.get(location[:length])) is not None:
                return Place(line, f"{self.source}:{line}")
        return Place(1, f"{self.source}:1")

    def set(self, location: tuple[str | int, ...], value: Any, option: str) -> None:
        """Put `value` at `location`, making mappings on the way; errors there are reported as `option`'s."""
        spot = self.value
        for part, following in itertools.pairwise(location):
            if isinstance(spot, list):
                if not isinstance(part, int) or part >= len(spot):
                    raise RecipeError(f"{option}: {part!r} is not one of the {len(spot)} entries there, counted from 0")
                spot = spot[part]
            elif isinstance(spot, dict):
                spot = spot.setdefault(part, [] if isinstance(following, int) else {})
            else:
                raise RecipeError(f"{option}: {part!r} is inside {spot!r}, which has no fields")
        last = location[-1]
        if isinstance(spot, list) and (not isinstance(last, int) or last >= len(spot)):
            raise RecipeError(f"{option}: {last!r} is not one of the {len(spot)} entries there, counted from 0")
        if not isinstance(spot, dict | list):
            raise RecipeError(f"{option}: {last!r} is inside {spot!r}, which has no fields")
        spot[last] = value  # type: ignore[index]
        for places in (self._lines, self._set):  # of what stood there
            for inner in [
                place for place in places if len(place) > len(location) and place[: len(location)] == location
            ]:
                del places[inner]
        self._set[location] = option

    def graft(
        self, location: tuple[str | int, ...], value: Any, other: "Document", where: tuple[str | int, ...]
    ) -> None:
        """Put `value` at `location`; it is what stands at `where` in another file, and its parts keep their places."""
        self.set(location, value, other.where(where).text)
        for inner, line in other._lines.items():
            if inner[: len(where)] == where:
                self._set[(*location, *inner[len(where) :])] = f"{other.source}:{line}"


def parse(text: str, source: str) -> Document:
    """Parse YAML text; `RecipeError` with the line where it is not YAML."""
    document = Document(None, source)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None:
            _index(node, (), document, on_path=set())  # before merge keys (<<) are written out into the nodes
            document.value = None if document.problems else _unshared(loader.construct_document(node))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        said = getattr(error, "problem", None) or (str(error).splitlines() or [type(error).__name__])[0]
        raise RecipeError(f"{source}{line}: not YAML: {said}") from None
    return document


class _Loader(yaml.SafeLoader):
    """Safe YAML in which `1e-4` is a number, as in YAML 1.2; PyYAML alone reads it as text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def _unshared(value: Any) -> Any:
    """`value` with every alias written out as a copy of its own, so that setting one leaves the others."""
    if isinstance(value, dict):
        return {key: _unshared(inner) for key, inner in value.items()}
    return [_unshared(inner) for inner in value] if isinstance(value, list) else value


def _index(node: yaml.Node, where: tuple[str | int, ...], document: Document, on_path: set[int]) -> None:
    """Note the line of every part; an alias that contains itself is a problem, so is a key that stands twice."""
    document._lines.setdefault(where, node.start_mark.line + 1)
    if len(document._lines) > _LIMIT:
        raise RecipeError(f"{document.source}: more than {_LIMIT} entries once its aliases are written out")
    if id(node) in on_path:
        document.problems.append(Problem(where, "this alias contains itself"))
        return
    for key, child, line in _children(node):
        location = (*where, key)
        if location in document._lines and isinstance(node, yaml.MappingNode):
            document.problems.append(
                Problem(location, f"this key stands twice (lines {document._lines[location]} and {line})")
            )
            continue
        document._lines[location] = line
        _index(child, location, document, on_path | {id(node)})


def _children(node: yaml.Node) -> Iterator[tuple[str | int, yaml.Node, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            yield str(getattr(key, "value", key)), child, key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for i, child in enumerate(node.value):
            yield i, child, child.start_mark.line + 1
