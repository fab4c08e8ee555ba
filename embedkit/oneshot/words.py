"""Parts of a stage in a word or two: `percent_of_positive=0.95`, `random:seed=3`, `cross_encoder:my/model`."""

import re
from collections.abc import Callable, Mapping
from typing import Any, get_args

from embedkit.core.document import parse
from embedkit.core.errors import RecipeError
from embedkit.core.spec import Spec


def members(stage: type[Spec], field: str) -> dict[str, type[Spec]]:
    """kind -> class, of what a stage's field can hold."""
    found: dict[str, type[Spec]] = {}

    def walk(annotation: Any) -> None:
        if isinstance(annotation, type) and issubclass(annotation, Spec):
            found.update(dict.fromkeys(get_args(annotation.model_fields["kind"].annotation), annotation))
        for inner in get_args(annotation):
            walk(inner)

    walk(stage.model_fields[field].annotation)
    return found


def spec_of(
    text: str,
    classes: Mapping[str, type[Spec]],
    option: str,
    *,
    seed: int | None = None,
    model: Callable[[str, type[Spec]], Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """`KIND`, `KIND=VALUE`, `KIND=VALUE,field=value` or a YAML mapping as the fields of one of `classes`.

    VALUE is that of the kind's first field of its own; `KIND:field=value` names the first one too. `model`
    makes fields of what stands for a model. Where the kind draws at random, `seed` is its seed unless it says one.
    """
    if text.startswith("{"):
        value = parse(text, option).value
        return dict(value) if isinstance(value, dict) else {}
    first, *rest = _split(text)
    kind, sign, value = re.split("([=:])", first, maxsplit=1) if re.search("[=:]", first) else (first, "", "")
    chosen, spec = classes.get(kind), dict[str, Any](kind=kind)
    if sign and chosen is not None:
        if model is not None and {"model", "source"} & set(chosen.model_fields):
            spec |= model(value, chosen)
        elif sign == "=":
            name = _first_field(chosen, option)
            spec[name] = _value(value, chosen, name, option)
        else:
            rest = [value, *rest]
    for part in rest:
        field, equals, given = part.partition("=")
        if not equals:
            raise RecipeError(f"{option}: found {part!r}; expected field=value")
        spec[field] = _value(given, chosen, field, option)
    if chosen is not None and seed is not None and "seed" in chosen.model_fields:
        spec.setdefault("seed", seed)
    return spec


def _first_field(chosen: type[Spec], option: str) -> str:
    name = next((name for name in chosen.model_fields if name not in ("kind", "weight")), None)
    if name is None:
        raise RecipeError(f"{option}: takes no value")
    return name


def _value(text: str, chosen: type[Spec] | None, name: str, option: str) -> Any:
    """The text itself for a field that holds one, else what it says as YAML."""
    field = chosen.model_fields.get(name) if chosen is not None else None
    return text if field is not None and field.annotation is str else parse(text, option).value


def _split(text: str) -> list[str]:
    """Parts between commas that are in no bracket."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return parts
