"""What the commands `compare` and `score` print."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from embedkit.report import compare_words as words
from embedkit.report.tables import NOTHING, metric_name, percent, score, signed

if TYPE_CHECKING:
    from embedkit.evaluation.comparing.systems import System

_SHOWN: Final = 160  # characters of a query's text
Texts = Mapping[str, Mapping[str, str]]


def print_scores(task: str, systems: Sequence["System"], metrics: Sequence[str], notes: Sequence[str]) -> None:
    """Runs and their metrics on one task."""
    console = _console()
    table = Table(
        escape(f"run on {task}"), *map(_right, ["queries", *map(metric_name, metrics)]), box=None, pad_edge=False
    )
    for system in systems:
        found = system.tasks[task].scores
        table.add_row(escape(system.name), f"{found.queries:,}", *(score(found.metrics[m], 4) for m in metrics))
    console.print(table)
    _lines(console, [f"note: {note}" for note in notes])


def print_comparison(found: Mapping[str, Any], texts: Texts, *, most: int) -> None:
    """A comparison for a terminal: the figures of `evaluation.comparing.figures`."""
    console = _console()
    for candidate in found["candidates"]:
        _lines(console, [f"{candidate['name']} against {found['baseline']}"])
        console.print(_table(candidate, found))
        _lines(console, [f"note: {note}" for note in candidate["notes"]])
        if most:
            for title, rows in (("fell", candidate["changed"]["fell"]), ("rose", candidate["changed"]["rose"])):
                _changed(console, title, rows, texts)
        console.print()
    _lines(console, [f"note: {note}" for note in found["notes"]])
    _lines(console, words.method(found))
    for gate in found["gates"]:
        state = "FAILED" if gate["failed"] else "passed"
        _lines(console, [f"gate {state}: --{gate['kind']} '{gate['rule']}': {words.gate_reason(gate)}"])


def _table(candidate: Mapping[str, Any], found: Mapping[str, Any]) -> Table:
    rows = [*([candidate["overall"]] if candidate["overall"] else []), *candidate["tasks"]]
    numbers = [
        "n",
        "baseline",
        "candidate",
        "difference",
        f"{percent(found['confidence'])} interval",
        "p",
        "d",
        "+/=/−",
    ]
    table = Table("task", "metric", *map(_right, numbers), "", box=None, pad_edge=False)
    for row in rows:
        table.add_row(
            escape(row["task"] or "mean over tasks"),
            "each its own" if row["metric"] == "main" else escape(metric_name(row["metric"])),
            f"{row['units']:,}",
            score(row["base"], 4),
            score(row["candidate"], 4),
            signed(row["difference"]),
            f"{signed(row['low'])} to {signed(row['high'])}",
            score(row["p_corrected"], 4),
            NOTHING if row["effect_size"] is None else score(row["effect_size"], 2),
            NOTHING if row["wins"] is None else f"{row['wins']}/{row['ties']}/{row['losses']}",
            row["verdict"],
        )
    return table


def _changed(console: Console, title: str, rows: Sequence[Mapping[str, Any]], texts: Texts) -> None:
    if rows:
        _lines(console, [f"queries that {title} furthest"])
    for row in rows:
        text = " ".join(texts.get(row["task"], {}).get(row["query_id"], "").split())
        shown = f"{text[:_SHOWN]}…" if len(text) > _SHOWN else text
        figures = f"{score(row['base'])} → {score(row['candidate'])}"
        _lines(console, [f"  {figures}  {row['task']} {row['query_id']}{f': {shown}' if shown else ''}"])


def _console() -> Console:
    return Console(highlight=False, width=None if Console().is_terminal else 160)


def _lines(console: Console, lines: Sequence[str]) -> None:
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _right(name: str) -> Column:
    return Column(escape(name), justify="right", no_wrap=True)
