"""What `mine` exports besides: told to be wrong before anything is mined."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedkit.core.errors import EmbedkitError, RecipeError

if TYPE_CHECKING:
    from embedkit.cli.console import Console
    from embedkit.exports import Format


@dataclass(frozen=True)
class Export:
    """What to make of the pairs besides. Whatever is wrong with it is told before anything is mined."""

    format: "Format"
    to: Path
    push_to: str | None
    force: bool

    @staticmethod
    def of(kind: str | None, to: Path | None, push_to: str | None, *, pairs: Path, force: bool) -> "Export | None":
        """Of the pairs that are going to be in the folder `pairs`; None if nothing is asked for."""
        if kind is None and to is None and push_to is None:
            return None
        if kind is None or to is None:
            raise RecipeError(f"--{'to' if kind else 'format'}: is missing; --format and --to go together")
        from embedkit.exports import format_named, target_files

        form = format_named(kind, {})
        try:
            target_files(pairs, to, form, force=force)
        except EmbedkitError as error:
            raise type(error)(f"--to {error}") from error
        if push_to is not None:
            from embedkit.retrieval.hub import check_online

            check_online(push_to)
        return Export(form, to, push_to, force)

    def write(self, pairs: Path, console: "Console") -> dict[str, Any]:
        """Export, push, and say what came of it."""
        from embedkit.exports import export

        done = export(pairs, self.to, format=self.format, force=self.force, progress=console.progress)
        told = {"summary": done.summary(), "files": {name: str(path) for name, path in done.files.items()}}
        if self.push_to is None:
            return told
        from embedkit.exports.hub import push

        return {**told, "pushed": push(self.push_to, pairs, done)}
