"""Options that several commands share, and how machines are answered."""

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer

StoreDir = Annotated[Path, typer.Option("--store", help="Where artifacts are kept.", metavar="DIR")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text.")]
DEFAULT_STORE: Final = Path(".embedkit")


def print_json(value: Any) -> None:
    """What machines read."""
    print(json.dumps(value, indent=1, ensure_ascii=False))
