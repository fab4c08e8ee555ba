"""The command `score`: metrics of runs that were made elsewhere."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedkit.cli.options import AsJson, print_json
from embedkit.core.errors import DataError, RecipeError

if TYPE_CHECKING:
    from embedkit.evaluation.comparing.systems import System


def score(
    runs: Annotated[
        list[Path], typer.Argument(help="TREC run files, of BM25, rerankers ...", metavar="RUN...", show_default=False)
    ],
    qrels: Annotated[
        Path,
        typer.Option("--qrels", help="Judgements: TREC's qrels or BEIR's .tsv.", metavar="FILE", show_default=False),
    ],
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metric", help="E.g. ndcg@10. May be repeated; the first is the main one.", metavar="METRIC"),
    ] = None,
    ignore_identical_ids: Annotated[
        bool, typer.Option("--ignore-identical-ids", help="Leave out documents that have their query's id.")
    ] = False,
    task: Annotated[
        str, typer.Option("--task", help="What to call the task.", metavar="NAME", show_default=False)
    ] = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="Write a folder of scores, for `embedkit compare`.", metavar="DIR")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score TREC runs as trec_eval and mteb do, with graded relevance; judged queries that a run lacks score 0."""
    from embedkit.evaluation.comparing.runs import DEFAULT_METRICS, judged, read_run_system

    about = judged(qrels, task)
    asked = tuple(dict.fromkeys(metrics or DEFAULT_METRICS))
    found = [read_run_system(run, about, asked, ignore_identical_ids=ignore_identical_ids) for run in runs]
    systems = [system for system, _ in found]
    if twice := [s.name for i, s in enumerate(systems) if s.name in {other.name for other in systems[:i]}]:
        raise RecipeError(f"two runs are called {twice[0]!r}, as their files are; score them one by one")
    if out is not None:
        _write(out, about.task, systems)
    if as_json:
        print_json(_figures(about.task, found))
        return
    from embedkit.cli.compare_tables import print_scores

    print_scores(about.task, systems, asked, [note for _, notes in found for note in notes])
    if out is not None:
        print(f"wrote {out}")


def _figures(task: str, found: Sequence[tuple["System", Sequence[str]]]) -> Mapping[str, Any]:
    return {
        "task": task,
        "runs": [
            {
                "name": system.name,
                "queries": system.tasks[task].scores.queries,
                "metrics": dict(system.tasks[task].scores.metrics),
                "notes": list(notes),
            }
            for system, notes in found
        ],
    }


def _write(out: Path, task: str, systems: Sequence["System"]) -> None:
    from embedkit.core.scores import ModelScores, write_per_query, write_scores

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: is there already; name a folder that is new or empty")
    out.mkdir(parents=True, exist_ok=True)
    write_per_query(out, {(system.key, task): system.tasks[task].per_query for system in systems})
    write_scores(out, [ModelScores(s.key, {task: s.tasks[task].scores}) for s in systems])
