"""The command `calibrate`: what scores are worth beyond rankings, and what to set a threshold to."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from embedkit.core.errors import DataError, RecipeError


def calibrate(
    folders: Annotated[
        list[str],
        typer.Argument(
            help="A run folder, or one of scores; with :MODEL, of that model only. Repeatable.",
            show_default=False,
            metavar="FOLDER[:MODEL]",
        ),
    ],
    tasks: Annotated[list[str] | None, typer.Option("--task", help="This task only. Repeatable.")] = None,
    precisions: Annotated[
        list[float] | None,
        typer.Option(
            "--precision", help="A precision wanted of what is above a threshold. Repeatable.  [default: 0.9]"
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option("--samples", help="Resamples of the queries behind intervals.", min=10)
    ] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Of resamples and of the parts that calibrate each other.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write calibration.html and calibration.json there.", metavar="DIR")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text.")] = False,
) -> None:
    """Tell how well scores part relevant documents from others: AUC, calibration, and thresholds to use."""
    from embedkit.evaluation.separation import Options

    wanted = tuple(dict.fromkeys(precisions or (0.9,)))
    if wrong := [value for value in wanted if not 0 < value <= 1]:
        raise RecipeError(f"--precision {wrong[0]:g}: expected a share above 0, up to 1")
    found = _measured(folders, tasks or (), Options(precisions=wanted, samples=samples, seed=seed))
    if out is not None:
        _write(out, found)
    if as_json:
        print(json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False))
        return
    from embedkit.cli.calibration_tables import print_calibration

    print_calibration(found)
    for name in ("calibration.html", "calibration.json") if out else ():
        print(f"wrote {Path(str(out), name)}")


def _measured(words: Sequence[str], tasks: Sequence[str], options: Any) -> list[dict[str, Any]]:
    """The figures of each model on each task that ranks documents. Raises `DataError` if there is none."""
    from embedkit.evaluation.separation import measure, read_separation
    from embedkit.evaluation.separation.results import results

    named = [(word, one) for word in words for one in results(word)]
    known = list(dict.fromkeys(one.task for _, one in named))
    if unknown := [task for task in tasks if task not in known]:
        raise DataError(f"--task {unknown[0]}: no such task; the scores have {', '.join(known)}")
    found = []
    for word, one in named:
        if not tasks or one.task in tasks:
            several = (
                len({other.folder for _, other in named if (other.model, other.task) == (one.model, one.task)}) > 1
            )
            model = f"{word.partition(':')[0]}:{one.model}" if several else one.model
            stored = read_separation(one.folder)  # what is told of vectors was told when there were some
            for part, figures in measure(one.folder, options).items():
                vectors = {"geometry": stored[part]["geometry"]} if "geometry" in stored.get(part, {}) else {}
                task = f"{one.task}:{part}" if part else one.task
                found.append({"model": model, "task": task, **figures, **vectors})
    if not found:
        raise DataError(f"{', '.join(words)}: none of the tasks ranks documents: {', '.join(known)}")
    return found


def _write(out: Path, found: Sequence[dict[str, Any]]) -> None:
    from embedkit.core.store import write_atomically
    from embedkit.report.separation import render_separation

    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"figures": found}, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(out / "calibration.json", text + "\n")
    write_atomically(out / "calibration.html", render_separation(found))
