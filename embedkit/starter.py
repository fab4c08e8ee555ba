"""Starter recipes that ship with the package."""

import json
import shutil
from pathlib import Path

from embedkit.core.errors import RecipeError

# `recipes/` lies inside the package when it is installed from a wheel, beside it in a checkout
_PLACES = (Path(__file__).parent / "recipes", Path(__file__).parents[1] / "recipes")


def recipes() -> Path:
    """The folder of the recipes that ship with embedkit."""
    return next(place for place in _PLACES if (place / "quickstart.yaml").is_file())


def write_starter(recipe: Path, *, pairs: str = "pairs.jsonl", quickstart: bool = False) -> list[Path]:
    """Write a starter recipe for `pairs`, or the quickstart with its data; what was written. Overwrites nothing."""
    data = recipe.parent / "data" / "tldr"
    written = [recipe, data] if quickstart else [recipe]
    for path in written:
        if path.exists():
            raise RecipeError(f"{path}: already there; name a file that does not exist yet")
    recipe.parent.mkdir(parents=True, exist_ok=True)
    text = (recipes() / ("quickstart.yaml" if quickstart else "starter.yaml")).read_text(encoding="utf-8")
    text = text.replace("my-retriever", _name(recipe)).replace("path: pairs.jsonl", f"path: {json.dumps(pairs)}")
    recipe.write_text(text, encoding="utf-8")
    if quickstart:
        shutil.copytree(recipes() / "data" / "tldr", data)
    return written


def _name(recipe: Path) -> str:
    """A recipe name from a file name."""
    name = "".join(c if (c.isalnum() and c.isascii()) or c in "-_" else "-" for c in recipe.stem)
    return name.strip("-_0123456789") or "my-retriever"
