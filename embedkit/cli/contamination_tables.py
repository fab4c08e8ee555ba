"""What the command `contamination` prints."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

_SIDES = {"queries": "its queries", "relevant": "its relevant documents", "documents": "its other documents"}
_HOWS = ("exact", "near", "inside_training", "inside_evaluation", "similar")
_SHOWN = 3  # examples of a role, a side and a way


def print_contamination(found: Mapping[str, Any], *, examples: bool) -> None:
    """The findings for a terminal."""
    console = Console(highlight=False, width=None if Console().is_terminal else 140)
    _lines(console, [*found["summary"], f"looked for: {found['looked_for']}"])
    for task in found["tasks"]:
        console.print()
        console.print(_overlap(task))
        _lines(console, _touched(task))
    if rows := found.get("scores"):
        console.print()
        console.print(_scores(rows))
    if removed := found.get("removed"):
        counts = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in removed["counts"].items() if n)
        _lines(
            console,
            ["", f"{removed['rows']:,} rows of pairs without them in {removed['to']}: {counts or 'nothing to remove'}"],
        )
    _lines(console, ["", "warnings", *(f"  {line}" for line in found["warnings"] or ["none"])])
    if examples:
        _examples(console, found["tasks"])


def _overlap(task: Mapping[str, Any]) -> Table:
    columns = [Column(name.replace("_", " "), justify="right") for name in _HOWS if _some(task, name)]
    table = Table(escape(task["name"]), "among", *columns, Column("of its", justify="right"), box=None, pad_edge=False)
    for row in (row for row in task["found"] if row["texts"]):
        touched = sum(row["touched"].values())
        cells = [f"{row['found'].get(name, 0):,}" for name in _HOWS if _some(task, name)]
        share = f"{touched:,} of {row['held']:,} ({touched / row['held']:.1%})"
        table.add_row(f"{row['texts']:,} training {row['of']}", _SIDES[row["among"]], *cells, share)
    return table


def _some(task: Mapping[str, Any], how: str) -> bool:
    return how in ("exact", "near") or any(row["found"].get(how) for row in task["found"])


def _touched(task: Mapping[str, Any]) -> Iterable[str]:
    seen, queries = len(task["touched_query_ids"]), task["queries"]
    yield f"{seen:,} of {queries:,} queries touched ({seen / queries:.1%}): training has seen their text"
    if pairs := sum(task["leaked_pairs"]["found"].values()):
        yield f"{pairs:,} of {task['judged_pairs']:,} judged pairs are training pairs"
    if answered := len(task["touched"]["relevant_document"]):
        yield f"{answered:,} queries have a relevant document that is a training positive"


def _scores(rows: Iterable[Mapping[str, Any]]) -> Table:
    table = Table("model", "task", "metric", *(Column(name, justify="right") for name in ("all", "unseen", "left")))
    table.box, table.pad_edge = None, False
    for row in rows:
        for metric, value in row["all"].items():
            unseen = row["unseen"][metric]
            shown = "-" if unseen is None else f"{unseen:.4f}"
            left = f"{row['left']:,} of {row['queries']:,}"
            table.add_row(row["model"][:12], escape(row["task"]), metric, f"{value:.4f}", shown, left)
    return table


def _examples(console: Console, tasks: Iterable[Mapping[str, Any]]) -> None:
    for task in tasks:
        for row in task["found"]:
            for how in _HOWS:
                for one in [e for e in row["examples"] if e["how"] == how][:_SHOWN]:
                    head = f"{task['name']}: training {row['of']} among {_SIDES[row['among']]}, {how.replace('_', ' ')}"
                    _lines(
                        console,
                        [
                            "",
                            f"{head} ({one['similarity']:.3f})",
                            f"  training    {one['id']}: {one['text']}",
                            f"  evaluation  {one['twin']}: {one['twin_text']}",
                        ],
                    )


def _lines(console: Console, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
