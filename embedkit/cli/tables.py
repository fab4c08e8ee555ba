"""Tables the commands print."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from embedkit.core.stats import read_stats
from embedkit.doctor import Finding
from embedkit.estimate import Forecast
from embedkit.maintenance import Entry
from embedkit.runner import Result


def print_plan(name: str, forecasts: Sequence[Forecast]) -> None:
    """The plan as a table, parts of a stage folded into it."""
    table = Table(
        "stage", "kind", "key", "made", *_right("rows", "tokens", "steps", "memory", "time"), box=None, pad_edge=False
    )
    for row in _fold(forecasts):
        table.add_row(
            row["stage"],
            row["kind"],
            row["key"][:12],
            "yes" if row["made"] else f"{row['parts_made']}/{row['parts']}" if row["parts"] else "no",
            _count(row["rows"]),
            _count(row["tokens"]),
            _count(row["steps"]),
            size_text(row["memory"]),
            _time(row["seconds"]),
        )
    console = Console(highlight=False, width=None if Console().is_terminal else 120)
    console.print(table)
    todo = [f for f in forecasts if not f.done]
    seconds = sum(f.seconds for f in todo)
    memory = max((f.memory for f in todo), default=0)
    text = f"{name}: {len(todo)} of {len(forecasts)} steps to run"
    console.print(f"{text}, about {_time(seconds)}, peak about {size_text(memory)}" if todo else f"{text}: all is made")
    console.print(
        "Rows, tokens, time and memory of stages not made yet are estimates; of made ones, what making them took."
    )


def plan_json(name: str, forecasts: Sequence[Forecast]) -> dict[str, Any]:
    """The plan for machines, parts as steps of their own."""
    return {
        "recipe": name,
        "steps": [
            {
                "stage": f.step.name,
                "kind": f.step.stage.kind,
                "key": f.step.key,
                "part_of": f.step.part_of,
                "made": f.done,
                "rows": f.estimate.rows,
                "tokens": f.estimate.tokens,
                "steps": f.estimate.steps,
                "memory_bytes": f.memory,
                "seconds": round(f.seconds, 3),
            }
            for f in forecasts
        ],
    }


def print_result(result: Result) -> None:
    """Where things are, and the scores."""
    import json

    console = Console(highlight=False)
    scores = json.loads((result.out / "scores.json").read_text(encoding="utf-8"))
    if scores:
        tasks = list(dict.fromkeys(task for tasks in scores.values() for task in tasks))
        for task in tasks:
            metrics = list(next(t[task] for t in scores.values() if task in t))
            table = Table(f"model on {task}", *_right(*metrics), box=None, pad_edge=False)
            for stage, found in scores.items():
                table.add_row(stage, *(f"{found[task][m]:.4f}" if task in found else "" for m in metrics))
            console.print(table)
    for step in result.steps:
        if step.stage.produces == "report":
            for line in read_stats(result.artifacts[step.name].path).get("summary", []):
                console.print(line, markup=False, soft_wrap=True)
            console.print(f"report: {result.out / 'report' / 'index.html'}", markup=False, soft_wrap=True)
    if not result.made:
        console.print("nothing to do: every stage was already made")


def print_findings(findings: Sequence[Finding]) -> None:
    """The doctor's findings."""
    table = Table("", "", "", box=None, show_header=False, pad_edge=False)
    for f in findings:
        mark = {True: "ok", False: "!!", None: "--"}[f.fine]
        table.add_row(mark, f.what, f.found + (f"\n-> {f.advice}" if f.advice else ""))
    Console(highlight=False).print(table)


def print_entries(found: Sequence[Entry]) -> None:
    """The store's content, largest first."""
    table = Table("what", "name", "kind", *_right("size", "age"), "used by", box=None, pad_edge=False)
    for e in sorted(found, key=lambda e: -e.bytes):
        table.add_row(e.sort, e.name[:12], e.kind, size_text(e.bytes), _time(e.age), ", ".join(e.used_by) or "-")
    console = Console(highlight=False)
    console.print(table)
    console.print(f"{len(found)} entries, {size_text(sum(e.bytes for e in found))}")


def entry_json(entry: Entry) -> dict[str, Any]:
    """An entry for machines."""
    return {**vars(entry), "path": str(entry.path), "age": round(entry.age, 1)}


def size_text(size: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1000
    raise AssertionError


def _fold(forecasts: Sequence[Forecast]) -> list[dict[str, Any]]:
    rows = []
    for f in forecasts:
        if f.step.part_of is not None:
            continue
        parts = [p for p in forecasts if p.step.part_of == f.step.name]
        every = [f, *parts]
        rows.append(
            {
                "stage": f.step.name,
                "kind": f.step.stage.kind,
                "key": f.step.key,
                "made": f.done,
                "parts": len(parts),
                "parts_made": sum(p.done for p in parts),
                "rows": sum(p.estimate.rows for p in every),
                "tokens": sum(p.estimate.tokens for p in every),
                "steps": sum(p.estimate.steps for p in every),
                "memory": max(p.memory for p in every),
                "seconds": sum(p.seconds for p in every),
            }
        )
    return rows


def _right(*names: str) -> list[Any]:
    from rich.table import Column

    return [Column(name, justify="right") for name in names]


def _count(value: int) -> str:
    return f"{value:,}" if value else "-"


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 86_400 else f"{seconds / 86_400:.1f} d"
