"""A source's other fields, carried along as JSON."""

import base64
import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from embedkit.data.rows import BadRow, shown


@dataclass
class Carried:
    """Which other fields of a document or query are carried: all, none, or those named."""

    fields: bool | tuple[str, ...] = True
    seen: set[str] = field(default_factory=set)

    def of(self, values: Mapping[str, Any], used: Collection[str | None]) -> str:
        """A row's fields that are not `used`, as a JSON object with sorted keys; "" if nothing is in them.

        Fields that are null or empty are left out. Those of a field `metadata`, as BEIR has it, stand beside the others
        of the row, which win. Raises `BadRow` for a value that JSON cannot say.
        """
        if self.fields is False:
            return ""
        given = {name: value for name, value in values.items() if name not in used}
        found = _nested(given)
        if self.fields is not True:
            found = {name: found[name] for name in self.fields if name in found}
            self.seen.update(found)
        found = {name: _plain(value, name) for name, value in found.items() if not _nothing(value)}
        return _text(found) if found else ""

    def missing(self) -> list[str]:
        """Named fields that no row had."""
        return [] if isinstance(self.fields, bool) else [name for name in self.fields if name not in self.seen]


def _nested(given: Mapping[str, Any]) -> dict[str, Any]:
    inner = given.get("metadata")
    if isinstance(inner, str) and inner.startswith("{"):  # as embedkit's own tables have it
        try:
            inner = json.loads(inner)
        except ValueError:
            return dict(given)
    if not isinstance(inner, Mapping):
        return dict(given)
    return {**{str(k): v for k, v in inner.items()}, **{k: v for k, v in given.items() if k != "metadata"}}


def _nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str | list | dict | tuple | bytes) and not value)


def _plain(value: Any, name: str) -> Any:
    """`value` as what JSON knows."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, name) for key, inner in value.items()}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, Iterable):
        return [_plain(inner, name) for inner in value]
    raise BadRow(f"{name} holds {shown(value)}, which metadata cannot; name the fields to carry with `metadata`")


def _text(found: Mapping[str, Any]) -> str:
    text = json.dumps(found, sort_keys=True, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return json.dumps(found, sort_keys=True)
    return text
