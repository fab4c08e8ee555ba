"""Starter recipes that ship with the package."""

import shutil
from importlib.resources import as_file, files
from pathlib import Path

from embedkit.core.errors import RecipeError


def write_starter(recipe: Path, *, quickstart: bool = False) -> list[Path]:
    """Write a starter recipe to `recipe`, and the quickstart's data beside it; what was written. Overwrites nothing."""
    source = files("embedkit.recipes")
    wanted = {recipe: "quickstart.yaml" if quickstart else "starter.yaml"}
    folders = {recipe.parent / "data" / "tldr": "data/tldr"} if quickstart else {}
    for path in (*wanted, *folders):
        if path.exists():
            raise RecipeError(f"{path}: already there; name a file that does not exist yet")
    recipe.parent.mkdir(parents=True, exist_ok=True)
    for path, name in wanted.items():
        text = source.joinpath(name).read_text(encoding="utf-8")
        path.write_text(text.replace("name: my-retriever", f"name: {_name(recipe)}", 1), encoding="utf-8")
    for path, name in folders.items():
        with as_file(source.joinpath(name)) as folder:
            shutil.copytree(folder, path)
    return [*wanted, *folders]


def _name(recipe: Path) -> str:
    """A recipe name from a file name."""
    name = "".join(c if (c.isalnum() and c.isascii()) or c in "-_" else "-" for c in recipe.stem).strip("-_0123456789")
    return name or "my-retriever"
