"""A spec is a value: one mapping of a recipe file, validated, frozen and hashable.

Three marks on a field's annotation say how it takes part in the identity of what the spec makes:

- `Reference`  the value names another stage; that stage's key takes its place
- `External`   the value is a path outside the store; the content's digest takes its place
- `Execution`  the value changes how, not what (chunk size, workers): it is left out

Marks are found wherever they are: inside nested specs, tuples, mappings and unions.
"""

import hashlib
import json
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo
from pydantic_core import to_jsonable_python

Location = tuple[str | int, ...]
Mark = TypeVar("Mark")


class Spec(BaseModel):
    """Base of everything a recipe can name. Unknown keys are errors, defaults are part of the value."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Reference:
    """Marks a field that names another stage; `types` are the artifact types it accepts."""

    types: tuple[str, ...]


@dataclass(frozen=True)
class External:
    """Marks a path to a file or folder that is not in the store. Its content, not its name, enters the key."""


@dataclass(frozen=True)
class Execution:
    """Marks a field that changes speed or memory but not the result. It does not enter the key."""


def _from_recipe_folder(value: Any, info: ValidationInfo) -> Any:
    folder = (info.context or {}).get("folder")
    return str(Path(folder, value)) if folder is not None and isinstance(value, str | Path) else value


ModelRef = Annotated[str, Reference(("model",))]
DatasetRef = Annotated[str, Reference(("dataset",))]
PairsRef = Annotated[str, Reference(("pairs", "dataset"))]
ScoresRef = Annotated[str, Reference(("scores",))]
ContaminationRef = Annotated[str, Reference(("contamination",))]
LocalPath = Annotated[Path, BeforeValidator(_from_recipe_folder), External()]


def digest(value: object) -> str:
    """SHA-256 of `value` as canonical JSON: the same value gives the same digest on every machine."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def marked(spec: Spec, mark: type[Mark]) -> Iterator[tuple[Location, Any, Mark]]:
    """Every value in `spec` that carries a mark of this type: where it is, the value, its mark."""
    found: list[tuple[Location, Any, Mark]] = []

    def collect(where: Location, value: Any, marks: tuple[Any, ...]) -> Any:
        found.extend((where, value, m) for m in marks if isinstance(m, mark))
        return value

    _rebuild(spec, collect)
    return iter(found)


def identity(spec: Spec, *, keys: Mapping[str, str], digests: Mapping[Path, str]) -> Any:
    """What `spec` is, as JSON: references become keys, paths become digests, execution fields are gone."""

    def replace(_: Location, value: Any, marks: tuple[Any, ...]) -> Any:
        for mark in marks:
            if isinstance(mark, Reference):
                return {"key": keys[value]}
            if isinstance(mark, External):
                return {"sha256": digests[value]}
        return to_jsonable_python(value)

    return _rebuild(spec, replace)


Leaf = Callable[[Location, Any, tuple[Any, ...]], Any]


def _rebuild(spec: Spec, leaf: Leaf, where: Location = ()) -> dict[str, Any]:
    """`spec` as a mapping, each leaf passed through `leaf(location, value, marks)`."""
    return {
        name: _visit(field.annotation, tuple(field.metadata), getattr(spec, name), leaf, (*where, name))
        for name, field in type(spec).model_fields.items()
        if not any(isinstance(m, Execution) for m in field.metadata)
    }


def _visit(annotation: Any, marks: tuple[Any, ...], value: Any, leaf: Leaf, where: Location) -> Any:
    if isinstance(value, Spec):
        return _rebuild(value, leaf, where)
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return _visit(inner, (*marks, *more), value, leaf, where)
    if origin in (Union, types.UnionType):
        arm = next((a for a in get_args(annotation) if _holds(a, value)), Any)
        return _visit(arm, marks, value, leaf, where)
    if isinstance(value, tuple | list):
        args = get_args(annotation)
        kinds = [args[0]] * len(value) if len(args) == 2 and args[1] is Ellipsis else list(args) or [Any] * len(value)
        kinds = kinds * len(value) if len(kinds) == 1 else kinds
        return [_visit(k, (), v, leaf, (*where, i)) for i, (k, v) in enumerate(zip(kinds, value, strict=True))]
    if isinstance(value, Mapping):
        args = get_args(annotation)
        kind = args[1] if len(args) == 2 else Any
        return {str(k): _visit(kind, (), v, leaf, (*where, str(k))) for k, v in value.items()}
    return leaf(where, value, marks)


def _holds(annotation: Any, value: Any) -> bool:
    """Whether `value` can be of this arm of a union; enough to tell None, strings, numbers and containers apart."""
    base = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    if base is None or base is type(None):
        return value is None
    origin = get_origin(base)
    if origin in (Union, types.UnionType):
        return any(_holds(arm, value) for arm in get_args(base))
    kind = origin or base
    if kind is tuple:
        return isinstance(value, tuple | list)
    return isinstance(kind, type) and isinstance(value, kind)
