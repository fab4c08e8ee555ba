"""The recipe of `embedkit compress`: the stages data, model and compressed."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from embedkit.core.errors import RecipeError
from embedkit.core.spec import Spec
from embedkit.evaluation.compression.stage import Compress
from embedkit.oneshot.draft import Draft
from embedkit.oneshot.inputs import data_source, model_source
from embedkit.oneshot.words import members, spec_of

_SHORTENED: Final = ("truncate", "pca")
_RESCORED: Final = "rescore="


def compress_draft(
    *,
    data: str,
    model: str,
    variants: Sequence[str],
    factor: int | None,
    seed: int,
    fields: Mapping[str, tuple[str, Any]],
) -> Draft:
    """A draft from the command's words: `variants` as `variant_of` takes them, none for the stage's own, `factor` of
    those that are rescored; `fields` are option -> (field, value), None left alone. Raises `RecipeError`, which names
    the option.

    Documents and queries are taken as they are: merging what is equal would make another task of it.
    """
    draft = Draft("compress", name="compress")
    draft.stage("data", "data", exact_duplicates=False, near_duplicates=None)
    draft.put("data.source", data_source(data, {}), f"DATA {data}")
    draft.stage("model", "pretrained")
    draft.put("model.source", model_source(model), f"--model {model}")
    draft.stage("compressed", "compress", data="data", model="model", seed=seed)
    if variants:
        draft.put("compressed.variants", [None] * len(variants), "--variant")
    for i, text in enumerate(variants):
        draft.put(f"compressed.variants.{i}", variant_of(text, factor), f"--variant {text}")
    for option, (where, value) in fields.items():
        draft.put(where, value, f"{option} {value}")
    return draft


def variant_of(text: str, factor: int | None = None) -> dict[str, Any]:
    """`int8`, `truncate=256+binary`, `binary+rescore=int8`, `truncate=256+binary+rescore=truncate=256+int8`, or a YAML
    mapping, as the fields of a variant: shortened first where it is, then a codec, then what orders the best anew.

    Raises `RecipeError` if it is none.
    """
    option, classes = f"--variant {text}", members(Compress, "variants")
    if text.startswith("{"):
        return spec_of(text, classes, option)
    first, again, by = text.partition(f"+{_RESCORED}")
    if not again:
        return _code(first, classes, option)
    chosen = {} if factor is None else {"factor": factor}
    return {"kind": "rescored", "first": _code(first, classes, option), "by": _code(by, classes, option), **chosen}


def _code(text: str, classes: Mapping[str, type[Spec]], option: str) -> dict[str, Any]:
    head, plus, rest = text.partition("+")
    code = spec_of(head, classes, option)
    fields = classes[code["kind"]].model_fields if code["kind"] in classes else {}
    if missing := [name for name, field in fields.items() if field.is_required() and name not in code]:
        raise RecipeError(f"{option}: says no {missing[0]}; for instance {code['kind']}=64")
    if not plus:
        return code
    if code["kind"] not in _SHORTENED:
        raise RecipeError(
            f"{option}: found {rest!r} after {head!r}; only {' and '.join(_SHORTENED)} come before something, and "
            f"`{_RESCORED}CODE` after it"
        )
    return {**code, "then": _code(rest, classes, option)}
