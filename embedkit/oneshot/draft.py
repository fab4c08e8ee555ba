"""Recipes of a few stages, built in memory from the options of a command: commands go the way recipes go."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from embedkit.core.document import Document, parse
from embedkit.core.errors import EmbedkitError, RecipeError
from embedkit.core.spec import External, marked
from embedkit.recipe import Recipe, build_recipe, parse_setting

_PLACE: Final = re.compile(r"^(?P<said>(?!--set )[^\n]*?: |)stages\.[\w.-]+: ")


class Draft:
    """A recipe in the making. Every field knows the option that set it, so that errors name the option."""

    def __init__(self, command: str, *, name: str) -> None:
        self.command = command
        self.document = Document({"name": name, "stages": {}}, f"embedkit {command}")

    def stage(self, name: str, kind: str, **fields: Any) -> None:
        """Add a stage."""
        self.document.set(("stages", name), {"kind": kind, **fields}, f"embedkit {self.command}")

    def put(self, where: str, value: Any, option: str) -> None:
        """Set the field at `where`, e.g. `mined.negatives`, to what `option` says; None leaves it as it is."""
        if value is not None:
            parts = (int(part) if part.isdigit() else part for part in where.split("."))
            self.document.set(("stages", *parts), value, option)

    def build(self, settings: Sequence[str] = ()) -> Recipe:
        """The checked recipe; paths are relative to the current folder. Raises `RecipeError`, a line a problem."""
        for setting in settings:
            self.document.set(*parse_setting(setting, self.document.value))
        try:
            return build_recipe(self.document, folder=Path())
        except RecipeError as error:
            raise in_options(error) from None

    def text(self, recipe: Recipe, path: Path) -> str:
        """The built recipe as the text of a file at `path`; defaults are left out."""
        value = parse(yaml.safe_dump(self.document.value, sort_keys=False), self.command)  # a copy
        for name, stage in recipe.stages.items():
            for where, file, _ in marked(stage, External):
                if file is not None:
                    value.set(("stages", name, *where), _seen_from(path.parent, file), self.command)
        body = yaml.safe_dump(value.value, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)
        run = f"embedkit run {path.name}"
        return f"# Written by `embedkit {self.command}`; `{run}` goes on from what it made.\n{body}"


def in_options(error: EmbedkitError) -> EmbedkitError:
    """The same error without the places in a recipe that its user never saw."""
    return type(error)(*(_PLACE.sub(r"\g<said>", problem) for problem in error.problems))


def write_recipe(path: Path, text: str) -> None:
    """Write a recipe file, unless there is one that somebody may have changed."""
    if path.is_file() and path.read_bytes() == text.encode():
        return
    if path.exists():
        raise RecipeError(f"--recipe-out {path}: is there already and differs; name a file that does not exist yet")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def _seen_from(folder: Path, path: Path) -> str:
    inside = path.resolve().is_relative_to(folder.resolve())
    return (path.resolve().relative_to(folder.resolve()) if inside else path.resolve()).as_posix()
