"""Options that several commands share, and how machines are answered."""

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer

Words = str | None
Many = list[str] | None
File = Path | None
StoreDir = Annotated[Path, typer.Option("--store", help="Where artifacts are kept.", metavar="DIR")]
RecipeFile = Annotated[Path, typer.Argument(help="The recipe, a YAML file.", show_default=False)]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Change one field, e.g. --set mined.negatives=4. May be repeated.", metavar="STAGE.FIELD=VALUE"
    ),
]
Until = Annotated[str | None, typer.Option("--until", help="Stop after this stage.", metavar="STAGE")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text.")]
DEFAULT_STORE: Final = Path(".embedkit")


def print_json(value: Any) -> None:
    """What machines read."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def option(name: str, panel: str, help: str, *, metavar: str | None = None) -> Any:
    """An option in a panel of the help, for commands that have many; its default is told in words, if at all."""
    return typer.Option(name, help=help, rich_help_panel=panel, metavar=metavar, show_default=False)
