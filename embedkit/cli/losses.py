"""The command `losses`: lists them, or tells all about one."""

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from embedkit.catalogue import Entry, Page

_HELD = "\N{NO-BREAK SPACE}"  # keeps `a: b` in one line


def losses(
    name: Annotated[str | None, typer.Argument(help="Tell all about this loss.", show_default=False)] = None,
    peers: Annotated[
        bool, typer.Option("--peers", help="List those of sentence-transformers, which `train_st` stages take.")
    ] = False,
) -> None:
    """List the losses with their formulas and papers, or tell all about one."""
    from embedkit import catalogue

    console = Console(highlight=False)
    if name is not None:
        _print_page(console, catalogue.page(name))
    else:
        _print_list(console, catalogue.peers() if peers else catalogue.losses())
        others = "" if peers else ", `embedkit losses --peers` lists those of sentence-transformers"
        _print(console, [f"`embedkit losses NAME` tells all about one{others}."])


def _print_list(console: Console, groups: Mapping[str, Sequence["Entry"]]) -> None:
    for heading, entries in groups.items():
        _print(console, [heading], style="bold")
        console.print()
        for entry in entries:
            _print(console, [entry.name], indent=2, style="bold cyan")
            _print(console, [entry.summary], indent=4)
            _print(console, entry.formulas, indent=4, hang=4, style="green")
            if entry.source:
                _print(console, [f"learns from {entry.learns_from}; {entry.source}"], indent=4, style="dim")
            console.print()


def _print_page(console: Console, page: "Page") -> None:
    _print(console, [page.entry.name], style="bold cyan")
    _print(console, [page.entry.summary])
    for paragraph in page.paragraphs:
        if not paragraph.startswith("Reference:"):
            console.print()
        if paragraph.startswith(" "):
            _print_formulas(console, paragraph)
        else:
            _print(console, [" ".join(paragraph.split())])
    console.print()
    _print(console, [f"It learns from {page.entry.learns_from}.", *page.advice])
    console.print()
    _print(console, [f"In a `{page.stage}` stage, with every default written out:"])
    console.print()
    _print(console, ["loss:"], style="bold")
    _print_fields(console, page.fields)


def _print_formulas(console: Console, paragraph: str) -> None:
    """Lines as they are, where they fit; else each clause of a formula by itself, and what goes on hangs below."""
    from embedkit.catalogue import clauses

    for line in paragraph.splitlines():
        parts = [line] if len(line) <= console.width else clauses(line)
        for part in parts:
            _print(console, [part.strip()], indent=4, hang=_hang(part.strip(), console.width), style="green")


def _print_fields(console: Console, fields: Sequence[tuple[str, str]]) -> None:
    """YAML with a comment to the right of each line."""
    common = min(max(len(line) for line, _ in fields), 36)
    for line, comment in fields:
        start = max(common, len(line)) + 6
        parts = textwrap.wrap(comment, max(console.width - start - 2, 20), break_long_words=False) or [""]
        for number, part in enumerate(parts):
            shown = Text("" if number else f"  {line}")
            if part:
                shown.pad_right(start - len(shown))
                shown.append(f"# {part}", style="dim")
            console.print(shown, soft_wrap=True)


def _print(console: Console, texts: Iterable[str], *, indent: int = 0, hang: int = 0, style: str = "") -> None:
    """Each text as lines that fit, broken between words alone; `hang` further in after the first."""
    for text in texts:
        for line in _wrapped(text, console.width, indent, hang):
            shown = Text(line, style=style)
            shown.highlight_regex(r"`[^`]+`", "cyan")
            console.print(shown, soft_wrap=True)


def _wrapped(text: str, width: int, indent: int, hang: int) -> list[str]:
    whole = re.sub(r"`[^`]+`", lambda code: code[0].replace(" ", _HELD), text)
    lines = textwrap.wrap(
        whole,
        width,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + hang),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_HELD, " ") for line in lines]


def _hang(line: str, width: int) -> int:
    """Where the last column of a table's row begins, if that leaves it space; else a little further in."""
    starts = [gap.end() for gap in re.finditer(r"\s{2,}", line)]
    return max((start for start in starts if start < 5 * width // 8), default=4)
