"""The recipe of `embedkit mine`: the stages data, model and mined."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from embedkit.core.errors import RecipeError, did_you_mean
from embedkit.core.spec import Spec
from embedkit.data.pair_rows import Columns
from embedkit.mining.stage import SIGNAL_NAME, Mine
from embedkit.oneshot.draft import Draft
from embedkit.oneshot.inputs import data_source, model_source
from embedkit.oneshot.words import members, spec_of

_TABLES: Final = ("corpus", "queries", "qrels")


def mine_draft(
    *,
    data: str | None,
    tables: Mapping[str, Path | None],
    columns: Sequence[str],
    model: str,
    seed: int,
    parts: Mapping[str, str | Sequence[str] | None],
    fields: Mapping[str, tuple[str, Any]],
) -> Draft:
    """A draft from the command's words.

    `data` or `tables` (corpus, queries, qrels) and `columns` say what to read; `parts` are fields of the `mine` stage
    that hold components, in words as `spec_of` takes them; `fields` are option -> (field, value), None left alone.
    Raises `RecipeError`, which names the option.
    """
    draft = Draft("mine", name="mine")
    draft.stage("data", "data", near_duplicates=None)
    source, option = _source(data, tables, columns)
    draft.put("data.source", source, option)
    for name in _TABLES:
        if data is None:
            draft.put(f"data.source.{name}", source[name], f"--{name} {source[name]}")
    draft.stage("model", "pretrained")
    draft.put("model.source", model_source(model), f"--model {model}")
    draft.stage("mined", "mine", data="data", model="model")
    for field, words in parts.items():
        _put_part(draft, field, words, seed)
    for option, (where, value) in fields.items():
        draft.put(where, value, f"{option} {value}" if not isinstance(value, bool) else option)
    return draft


def _source(data: str | None, tables: Mapping[str, Path | None], columns: Sequence[str]) -> tuple[dict[str, Any], str]:
    """What to read, and the option that says so."""
    named = dict(_column(part) for text in columns for part in text.split(","))
    given = {name: str(path) for name, path in tables.items() if path is not None}
    if data is not None and given:
        raise RecipeError(f"--{next(iter(given))}: stands in place of DATA, which is {data}; give one of them")
    if data is not None:
        if unknown := [name for name in named if name not in Columns.model_fields]:
            known = list(Columns.model_fields)
            hint = did_you_mean(unknown[0], known)
            raise RecipeError(f"--columns {unknown[0]}: a table of pairs has no such column; there are {known}{hint}")
        return data_source(data, named), f"DATA {data}"
    if missing := [name for name in _TABLES if name not in given]:
        if not given:
            raise RecipeError("DATA: is missing; name a folder or file, or --corpus, --queries and --qrels")
        raise RecipeError(f"--{missing[0]}: is missing; --corpus, --queries and --qrels go together")
    source = {"kind": "tables", **given, **({"columns": named} if named else {})}
    return source, "--corpus, --queries, --qrels"


def _column(text: str) -> tuple[str, str]:
    what, equals, column = text.partition("=")
    if not equals:
        raise RecipeError(f"--columns {text}: expected WHAT=COLUMN, for instance query=question")
    return what, column


def _put_part(draft: Draft, field: str, words: str | Sequence[str] | None, seed: int) -> None:
    """Set a field of the `mine` stage that holds one component, several, or several by name."""
    option = f"--{field.removesuffix('s') if field in ('filters', 'signals') else field}"
    if not words:
        return
    if field not in Mine.model_fields:
        raise RecipeError(f"{option}: the stage `mine` has no {field}")
    classes = members(Mine, field)
    if isinstance(words, str):
        draft.put(f"mined.{field}", _part(draft, words, classes, f"{option} {words}", field, seed), f"{option} {words}")
    elif field == "signals":
        for text in words:
            name, equals, rest = text.partition("=")
            if equals and not re.fullmatch(SIGNAL_NAME, name):
                raise RecipeError(f"{option} {text}: {name!r} is no name of a signal; expected a word like judge_2")
            named = _part(draft, rest if equals else name, classes, f"{option} {text}", name, seed)
            draft.put(f"mined.signals.{name}", named, f"{option} {text}")
    elif list(words) == ["none"]:
        draft.put(f"mined.{field}", [], f"{option} none")
    else:
        draft.put(f"mined.{field}", [None] * len(words), option)
        for i, text in enumerate(words):
            found = _part(draft, text, classes, f"{option} {text}", f"{field}{i}", seed)
            draft.put(f"mined.{field}.{i}", found, f"{option} {text}")


def _part(
    draft: Draft, text: str, classes: Mapping[str, type[Spec]], option: str, name: str, seed: int
) -> dict[str, Any]:
    """One component; a model that it names becomes a stage of the recipe."""

    def model(value: str, chosen: type[Spec]) -> dict[str, Any]:
        source = model_source(value, option)
        if "source" in chosen.model_fields:
            return {"source": source}
        draft.stage(f"{name}-model", "pretrained")
        draft.put(f"{name}-model.source", source, option)
        return {"model": f"{name}-model"}

    return spec_of(text, classes, option, seed=seed, model=model)
