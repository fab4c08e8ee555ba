"""A recipe file: read, checked as a whole, every mistake reported with file and line."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from embedkit.core.document import Document, parse
from embedkit.core.errors import Problem, RecipeError, did_you_mean
from embedkit.core.spec import External, Location, marked
from embedkit.core.stage import Stage
from embedkit.core.validation import problems_of
from embedkit.data.stage import Data, Pretrained, Weak
from embedkit.evaluation.compression.stage import Compress
from embedkit.evaluation.contamination.stage import Contamination
from embedkit.evaluation.stage import Evaluate
from embedkit.expansion import SUITE, expand_suites
from embedkit.mining.stage import Mine
from embedkit.mining.teach import Teach
from embedkit.models.stage import Backbone, Static, Towers
from embedkit.plan import check
from embedkit.refresh import Refresh, Rounds, complete_schema, tagged
from embedkit.report.stage import Package, Report
from embedkit.soups.stage import Soup
from embedkit.training.adore import Adore
from embedkit.training.peers import NOT_OFFERED
from embedkit.training.plain import TrainST
from embedkit.training.stage import Train

AnyStage = Annotated[
    Pretrained
    | Backbone
    | Towers
    | Static
    | Data
    | Weak
    | Train
    | TrainST
    | Refresh
    | Adore
    | Mine
    | Teach
    | Soup
    | Evaluate
    | Compress
    | Contamination
    | Package
    | Report,
    Field(discriminator="kind"),
]
ADAPTER: TypeAdapter[Any] = TypeAdapter(AnyStage)
_NAME = r"^[A-Za-z][A-Za-z0-9_-]*$"
_KEYS = ("name", "stages")


@dataclass(frozen=True)
class Recipe:
    """A checked recipe: its name, its stages by name in the order of the file, and where it came from."""

    name: str
    stages: Mapping[str, Stage]
    path: Path | None = None

    def dump(self) -> dict[str, Any]:
        """The recipe as plain data, defaults written out."""
        stages = {name: stage.model_dump(mode="json") for name, stage in self.stages.items()}
        return {"name": self.name, "stages": stages}


def load_recipe(path: Path | str, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe file; paths in it are relative to it. `settings` are `stage.field=value`, values as YAML.

    Raises `RecipeError` with all problems of the file, one line each: `file:line: where: what; what would be right`.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise RecipeError(f"{path}: cannot read the recipe: {reason}") from None
    document = parse(text, str(path))
    for setting in settings:
        document.set(*parse_setting(setting, document.value))
    return build_recipe(document, folder=path.parent, path=path)


def build_recipe(document: Document, *, folder: Path, path: Path | None = None) -> Recipe:
    """A recipe from a parsed document."""
    value = document.value
    if document.problems:
        raise RecipeError(*(f"{document.where(p.where).text}: {p}" for p in document.problems))
    if not isinstance(value, dict):
        raise RecipeError(f"{document.source}:1: a recipe is a mapping with the keys {list(_KEYS)}")
    problems, unread = list(_top_level(value)), list(expand_suites(document, folder))
    raw = value.get("stages")
    stages: dict[str, Stage] = {}
    for name, spec in raw.items() if isinstance(raw, dict) else ():
        if any(problem.where[1] == str(name) for problem in unread):
            continue
        try:
            stages[str(name)] = ADAPTER.validate_json(
                json.dumps(spec, default=str), strict=True, context={"folder": folder}
            )
        except ValidationError as error:
            place, known = ("stages", str(name)), lambda: schema()["$defs"]
            problems.extend(problems_of(error, tagged(spec), place, definitions=known, not_offered=NOT_OFFERED))
    rounds = Rounds.of(stages)
    stages = dict(rounds.stages)
    if isinstance(raw, dict):
        problems.extend(rounds.located(check(stages, _types(raw, stages))))
    problems.extend([*unread, *rounds.located(_missing_files(stages))])
    if problems:
        located = sorted(((document.where(p.where), p) for p in problems), key=lambda item: item[0])
        raise RecipeError(*dict.fromkeys(f"{where.text}: {problem}" for where, problem in located))
    return Recipe(str(value["name"]), stages, path)


def schema() -> dict[str, Any]:
    """JSON schema of a recipe, for editors."""
    stage = ADAPTER.json_schema(ref_template="#/$defs/{model}")
    definitions = stage.pop("$defs", {})
    for name in ("Evaluate", "Contamination"):
        _allow_suite(definitions[name])
    complete_schema(definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "embedkit recipe",
        "type": "object",
        "properties": {
            "name": {"type": "string", "pattern": _NAME},
            "stages": {"type": "object", "additionalProperties": stage},
        },
        "required": list(_KEYS),
        "additionalProperties": False,
        "$defs": definitions,
    }


def _allow_suite(stage: dict[str, Any]) -> None:
    """The key `suite` is written out before the stage is checked, so that no field tells of it."""
    about = "A suite that ships with embedkit, or the path of a suite's file: tasks beside or in place of `tasks`."
    stage["properties"][SUITE] = {"type": "string", "title": "Suite", "description": about}
    stage["required"].remove("tasks")


def _top_level(value: Mapping[str, Any]) -> Iterator[Problem]:
    for key in value:
        if key not in _KEYS:
            yield Problem((str(key),), f"unknown key; a recipe has {list(_KEYS)}{did_you_mean(str(key), _KEYS)}")
    name = value.get("name")
    if not isinstance(name, str) or not re.match(_NAME, name):
        yield Problem(("name",), f"found {name!r}; a recipe's name is letters, digits, '-' and '_', a letter first")
    stages = value.get("stages")
    if not isinstance(stages, dict) or not stages:
        yield Problem(("stages",), "a recipe has at least one stage: a mapping of stage name to stage")
        return
    for stage in stages:
        if not isinstance(stage, str) or not re.match(_NAME, stage):
            yield Problem(("stages", str(stage)), "a stage's name is letters, digits, '-' and '_', a letter first")


def _types(raw: Mapping[str, Any], stages: Mapping[str, Stage]) -> dict[str, str]:
    """Artifact types of all stages named; `?` where the stage could not be read."""
    named = {str(name): "?" for name in raw}
    return named | {name: stage.produces for name, stage in stages.items()}


def _missing_files(stages: Mapping[str, Stage]) -> Iterator[Problem]:
    for name, stage in stages.items():
        for where, path, _ in marked(stage, External):
            if path is not None and not path.exists():
                yield Problem(("stages", name, *where), f"{path}: no such file or folder")


def parse_setting(setting: str, value: Any) -> tuple[Location, Any, str]:
    """`stage.field=value` as place, value and the option that an error names; `value` is the recipe that it changes."""
    where, equals, text = setting.partition("=")
    parts = where.split(".")
    if not equals or len(parts) < 2:
        raise RecipeError(f"--set {setting}: expected stage.field=value, for instance --set mined.negatives=4")
    stages = value.get("stages") if isinstance(value, dict) else None
    if isinstance(stages, dict) and parts[0] not in stages:
        hint = did_you_mean(parts[0], map(str, stages))
        raise RecipeError(
            f"--set {setting}: no stage is named {parts[0]!r}; there are {sorted(map(str, stages))}{hint}"
        )
    location = tuple(int(part) if part.isdigit() else part for part in parts)
    return ("stages", *location), parse(text, f"--set {setting}").value, f"--set {setting}"
