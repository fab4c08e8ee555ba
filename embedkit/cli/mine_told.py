"""What `mine` says in the end."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from embedkit.runner import Result

STAGE: Final = "mined"  # and so its folder in the run folder
_TASKS: Final = ("query", "document")  # what prompts are for


def told_of(result: "Result", recipe_out: Path | None, exported: Mapping[str, Any] | None) -> dict[str, Any]:
    """What came of it."""
    from embedkit.core.stats import read_stats

    stats = {name: read_stats(artifact.path) for name, artifact in result.artifacts.items()}
    merged = sum(count for name, count in stats["data"]["counts"].items() if "duplicate" in name)
    return {
        "data": stats["data"]["summary"],
        "aliases": str(result.out / "data" / "aliases.parquet") if merged else None,
        "prompts": stats["model"]["prompts"],
        "summary": stats[STAGE]["summary"],
        "warnings": stats[STAGE]["warnings"],
        "counts": stats[STAGE]["counts"],
        "pairs": str(result.out / STAGE),
        "recipe": str(recipe_out) if recipe_out is not None else None,
        "exported": exported,
        "made": list(result.made),
    }


def print_told(told: Mapping[str, Any]) -> None:
    """The same for people."""
    given = {name: text for name, text in told["prompts"].items() if text}
    prompts = ", ".join(f"{name} {given[name]!r}" for name in _TASKS if name in given)
    others = ", ".join(sorted(given.keys() - set(_TASKS)))
    shown = {"data": told["data"], STAGE: [*told["summary"], *(f"warning: {text}" for text in told["warnings"])]}
    lines = [
        *(line for stage, found in shown.items() if stage not in told["made"] for line in found),  # others said it
        f"what was merged, and into what: {told['aliases']}" if told["aliases"] else "",
        f"prompts, which the model remembers: {prompts}" if prompts else "",
        f"prompts of the model that nothing asked for: {others}; see --document-prompt" if others else "",
        "" if told["made"] else "nothing to do: every stage was already made",
        f"pairs: {told['pairs']}",
        f"recipe: {told['recipe']}" if told["recipe"] else "",
    ]
    if exported := told["exported"]:
        lines += [*exported["summary"], *(f"wrote {path}" for path in exported["files"].values())]
        lines += [f"pushed to {exported['pushed']}"] if "pushed" in exported else []
    for line in filter(None, lines):
        print(line)
