"""What every study and benchmark writes: its figures, with the command, machine, versions and commit that made them."""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from embedkit.machine import machine, versions

ROOT = Path(__file__).parents[1]


def save(
    script: str, name: str, figures: Mapping[str, Any], *, table: Callable[[Mapping[str, Any]], str] | None = None
) -> Path:
    """Write `figures` to results/<name>.json beside the script, given as a module's name.

    `table` makes of all that is in the file, what made it included, the text of a .md beside it.
    """
    folder = ROOT.joinpath(*script.split(".")[:-1], "results")
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    facts = {
        "command": command(script, sys.argv[1:]),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
    }
    text = json.dumps(facts | dict(figures), indent=1)
    path.write_text(text + "\n", encoding="utf-8")
    if table is not None:
        path.with_suffix(".md").write_text(table(json.loads(text)), encoding="utf-8")
    return path


def command(script: str, words: Sequence[str]) -> str:
    """The command as others would type it: places of this machine are DIR or FILE, with their ending."""

    def shown(word: str) -> str:
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        path = Path(value)
        if not path.is_absolute():
            return word
        return option + equals + (f"FILE{path.suffix}" if path.suffix else "DIR")

    return shlex.join(["python", "-m", script, *map(shown, words)])


def commit() -> str:
    """The repository's commit, with a plus where files differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
