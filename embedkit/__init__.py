"""embedkit: train, mine for and benchmark text-embedding retrievers from one recipe file.

    import embedkit
    result = embedkit.run("recipes/quickstart.yaml", until="mined")

Names are imported when they are first used, so that `import embedkit` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from embedkit._version import __version__

if TYPE_CHECKING:
    from embedkit.core.errors import EmbedkitError
    from embedkit.recipe import Recipe, load_recipe
    from embedkit.runner import Result, run

__all__ = ["EmbedkitError", "Recipe", "Result", "__version__", "load_recipe", "run"]

_HOMES = {
    "EmbedkitError": "embedkit.core.errors",
    "Recipe": "embedkit.recipe",
    "Result": "embedkit.runner",
    "load_recipe": "embedkit.recipe",
    "run": "embedkit.runner",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'embedkit' has no attribute {name!r}")
