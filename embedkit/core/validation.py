"""What pydantic finds wrong with a file's data, in our words and at its place in the file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from embedkit.core.errors import Problem, did_you_mean
from embedkit.core.spec import Location

Definitions = Callable[[], Mapping[str, Any]]  # the JSON schema's $defs, asked for only if a key is unknown


def problems_of(
    error: ValidationError,
    raw: Any,
    place: Location,
    *,
    definitions: Definitions,
    not_offered: Mapping[str, str] | None = None,
) -> Iterator[Problem]:
    """Every problem of the value `raw`, which stands at `place`. `not_offered` are kinds with the reason why not."""
    for one in error.errors(include_url=False):
        yield _explain(one, raw, place, definitions, not_offered or {})


def _explain(
    error: ErrorDetails, raw: Any, place: Location, definitions: Definitions, not_offered: Mapping[str, str]
) -> Problem:
    """One problem (union tags left out of its location)."""
    where: list[str | int] = []
    spot = raw
    for part in error["loc"]:
        if isinstance(spot, dict) and part not in spot and part in (spot.get("kind"), spot.get("name")):
            continue  # the tag of a union, not a key of the file
        if isinstance(spot, dict) and part in spot:
            where.append(str(part))
            spot = spot[part]
        elif isinstance(spot, list) and isinstance(part, int) and part < len(spot):
            where.append(part)
            spot = spot[part]
        elif error["type"] in ("missing", "union_tag_not_found", "union_tag_invalid") and part == error["loc"][-1]:
            where.append(str(part))
    return Problem((*place, *where), _message(error, raw, where, definitions, not_offered))


def _message(
    error: ErrorDetails,
    raw: Any,
    where: Sequence[str | int],
    definitions: Definitions,
    not_offered: Mapping[str, str],
) -> str:
    context = error.get("ctx", {})
    if error["type"] == "extra_forbidden":
        known = _fields_beside(raw, where, definitions())
        return f"unknown key{did_you_mean(str(where[-1]), known)}" + (f"; there are {known}" if known else "")
    if error["type"] == "missing":
        return "this key is missing"
    if error["type"] == "union_tag_invalid":
        tags = [tag.strip().strip("'") for tag in str(context.get("expected_tags", "")).split(",")]
        if reason := not_offered.get(str(context.get("tag"))):
            return f"{context.get('tag')} is not offered: {reason}"
        return f"no kind {context.get('tag')!r}{did_you_mean(str(context.get('tag')), tags)}; there are {tags}"
    if error["type"] == "union_tag_not_found":
        key = str(context.get("discriminator")).strip("'")
        return f"needs a key `{key}` that says what it is"
    found = error.get("input")
    shown = "" if isinstance(found, dict | list) else f"found {found!r}; "
    said = error["msg"].removeprefix("Value error, ")
    return f"{shown}{said[:1].lower()}{said[1:]}"


def _fields_beside(raw: Any, where: Sequence[str | int], definitions: Mapping[str, Any]) -> list[str]:
    """Field names of the mapping that holds the unknown key at `where`, looked up by its `kind` or `name`."""
    spot = raw
    for part in where[:-1]:
        spot = spot[part]
    if not isinstance(spot, dict):
        return []
    for definition in definitions.values():
        properties = definition.get("properties", {})
        tag = next((name for name in ("kind", "name") if "const" in properties.get(name, {})), None)
        if tag is not None and tag in spot and properties[tag]["const"] == spot[tag]:
            return sorted(properties)
    return []
