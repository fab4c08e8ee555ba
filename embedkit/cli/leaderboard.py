"""The command `leaderboard`: one's own models on the tasks they were evaluated on, with intervals and honest ranks."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedkit.core.errors import RecipeError

if TYPE_CHECKING:
    from embedkit.report.standings import Standings


def leaderboard(
    folders: Annotated[
        list[Path],
        typer.Argument(
            help="Run folders, results folders, folders of scores, mteb's results.",
            show_default=False,
            metavar="FOLDER...",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The page to write.", metavar="FILE.html")] = Path(
        "leaderboard.html"
    ),
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="Show differences from this model.", metavar="MODEL")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric", help="Compare by this metric where a task has it, e.g. recall@100; by default each task's own."
        ),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(
            "--into", help="Also add the scores to this results folder, for other runs to share.", metavar="DIR"
        ),
    ] = None,
    title: Annotated[str, typer.Option("--title", help="Of the page.")] = "Leaderboard",
    confidence: Annotated[float, typer.Option("--confidence", help="Of intervals and ranks.")] = 0.95,
    samples: Annotated[int, typer.Option("--samples", help="Bootstrap resamples.", min=100)] = 10_000,
    seed: Annotated[int, typer.Option("--seed", help="Of the resamples.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines, write no page.")] = False,
) -> None:
    """Rank models over tasks, with intervals, and with shared ranks where scores do not tell models apart."""
    from embedkit.core.store import write_atomically
    from embedkit.evaluation import shared
    from embedkit.oneshot.entries import read_entries
    from embedkit.report.comparison import Bootstrap
    from embedkit.report.leaderboard import render_leaderboard
    from embedkit.report.standings import facts, standings

    if not 0.5 < confidence < 1:
        raise RecipeError(f"--confidence {confidence}: expected a share between 0.5 and 1")
    how = Bootstrap(samples, confidence, seed)
    entries = read_entries(folders)
    found = standings(entries, metric=metric, baseline=baseline, how=how)
    added = [shared.add(entry, into) for entry in entries] if into is not None else []
    if as_json:
        print(json.dumps(facts(found), indent=1, ensure_ascii=False, allow_nan=False))
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, render_leaderboard(found, title))
    _print(found)
    print(f"wrote {out}")
    if into is not None:
        written, kept = sum(len(one.written) for one in added), sum(len(one.kept) for one in added)
        print(f"added {written} scores to {into}; {kept} were there")


def _print(found: "Standings") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    names = [f"{column.task}{'' if column in found.common else ' *'}" for column in found.columns]
    right = [Column(escape(name), justify="right") for name in ("mean", "interval", *names)]
    table = Table(Column("rank", justify="right"), "model", *right, box=None, pad_edge=False)
    for line in found.lines:
        mean = line.by_task
        span = f"{mean.low:.3f} to {mean.high:.3f}" if mean and mean.low is not None and mean.high is not None else "-"
        cells = [f"{cell.score.value:.4f}" if cell else "missing" for cell in line.cells]
        table.add_row(str(line.rank or "-"), escape(line.label), f"{mean.value:.4f}" if mean else "-", span, *cells)
    console = Console(highlight=False, width=None if Console().is_terminal else 160)
    console.print(table)
    if any(column not in found.common for column in found.columns):
        console.print("* not in means: some model lacks it")
